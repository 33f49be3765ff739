def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output is a single cell.
    2. The input has scattered cells of two colors on the background, the most common color.
    3. At one place there is a 3x3 square: eight cells of one color around a cell of the other
       color.
    4. The output is the color of the cell in the middle.
    Procedure:
    1. Go through all cells that are not background and not on the border of the grid.
    2. Look at the eight cells around the cell.
    3. If they all have the same color, not background and not that of the cell, take the color of
       the cell.
    """
    height = len(grid)
    width = len(grid[0])
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)
    middle = background
    # 1. Go through all cells that are not background and not on the border of the grid.
    for r in range(1, height - 1):
        for c in range(1, width - 1):
            if grid[r][c] == background:
                continue
            # 2. Look at the eight cells around the cell.
            around = []
            for y in (r - 1, r, r + 1):
                for x in (c - 1, c, c + 1):
                    if (y, x) != (r, c):
                        around.append(grid[y][x])
            # 3. If they all have the same color, not background and not that of the cell, take the
            #    color of the cell.
            if len(set(around)) == 1 and around[0] not in (background, grid[r][c]):
                middle = grid[r][c]
    result = [[middle]]
    return result
