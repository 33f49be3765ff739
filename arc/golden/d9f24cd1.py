def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color, and there are two other colors.
    3. All cells of one of them lie on one side of the grid. They are the starts of lines.
    4. The cells of the other color are obstacles. They do not touch this side, and
       they do not all lie on one other side. No two of them are side by side.
    5. From each start a line in its color goes straight to the opposite side.
    6. If there is an obstacle in the next cell, the line steps one cell aside, to its right, and
       goes on beside the obstacle. Right is meant as seen in the direction of the line.
    Procedure:
    1. Find the background.
    2. Turn the grid until all cells of one color are in the last row: the starts.
    3. Go up from each start and color each cell.
    4. If the cell above is an obstacle, step to the right and color this cell.
    5. Stop in the first row, or at the right border of the grid.
    6. Turn the grid back.
    """
    # 1. Find the background.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    output = [list(row) for row in grid]
    for _ in range(4):
        # 2. Turn the grid until all cells of one color are in the last row: the starts.
        turned = [list(row) for row in output]
        above = {cell for row in turned[:-1] for cell in row}
        for start, color in enumerate(turned[-1]):
            if color in above or color == background:
                continue
            # 3. Go up from each start and color each cell.
            r, c = len(turned) - 1, start
            while r > 0 and c < len(turned[0]):
                # 4. If the cell above is an obstacle, step to the right and color this cell.
                if turned[r - 1][c] not in (background, color):
                    c += 1
                else:
                    r -= 1
                # 5. Stop in the first row, or at the right border of the grid.
                if c < len(turned[0]):
                    output[r][c] = color
        # 6. Turn the grid back.
        output = [list(row) for row in zip(*output[::-1])]
    result = output
    return result
