def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The most common color is the background.
    3. There is a square of 2x2 cells that are not background.
    4. At some of the corners of the square there is one more cell, diagonally outside: a tail.
    5. In the output each tail goes on in its diagonal direction, in its color, up to the border of
       the grid.
    Procedure:
    1. Find the background.
    2. Find the 2x2 square of cells that are not background.
    3. For each of its four corners, look at the cell that is diagonally outside.
    4. If this cell is not background, color the cells that follow in this direction with its
       color, up to the border.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [value for row in grid for value in row]
    background = max(set(cells), key=cells.count)
    output = [list(row) for row in grid]
    # 2. Find the 2x2 square of cells that are not background.
    for top in range(height - 1):
        for left in range(width - 1):
            square = grid[top][left:left + 2] + grid[top + 1][left:left + 2]
            if background in square:
                continue
            # 3. For each of its four corners, look at the cell that is diagonally outside.
            for dr, dc in [(-1, -1), (-1, 1), (1, -1), (1, 1)]:
                r = top - 1 if dr == -1 else top + 2
                c = left - 1 if dc == -1 else left + 2
                if not (0 <= r < height and 0 <= c < width) or grid[r][c] == background:
                    continue
                # 4. If this cell is not background, color the cells that follow in this direction
                # with its color, up to the border.
                color = grid[r][c]
                while 0 <= r < height and 0 <= c < width:
                    output[r][c] = color
                    r += dr
                    c += dc
    result = output
    return result
