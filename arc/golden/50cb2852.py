def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. On the background, the most common color, there are filled rectangles of other colors.
    3. Rectangles of the same color do not touch each other.
    4. The outline of each rectangle keeps its color, the cells inside become 8.
    5. A cell is inside when all its 8 neighbors exist and have its color.
    Procedure:
    1. Find the background: the most common color.
    2. Go through the cells that are not background and not on the border of the grid.
    3. Look at the 3x3 square around the cell.
    4. If it has only one color, color the cell with 8.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)
    output = [list(row) for row in grid]
    # 2. Go through the cells that are not background and not on the border of the grid.
    for r in range(1, height - 1):
        for c in range(1, width - 1):
            if grid[r][c] == background:
                continue
            # 3. Look at the 3x3 square around the cell.
            square = [cell for row in grid[r - 1 : r + 2] for cell in row[c - 1 : c + 2]]
            # 4. If it has only one color, color the cell with 8.
            if len(set(square)) == 1:
                output[r][c] = 8
    result = output
    return result
