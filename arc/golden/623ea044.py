def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color.
    3. The input has one cell of another color.
    4. From this cell four diagonal lines of its color go to the border of the grid.
    5. On a diagonal, the number of rows from the cell is equal to the number of columns.
    Procedure:
    1. Find the background.
    2. Find the cell of another color.
    3. Go through all cells, and count the rows and the columns to the colored cell.
    4. If both numbers are equal, give the cell the color.
    """
    # 1. Find the background.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    output = [list(row) for row in grid]
    # 2. Find the cell of another color.
    for r, row in enumerate(grid):
        for c, color in enumerate(row):
            if color == background:
                continue
            # 3. Go through all cells, and count the rows and the columns to the colored cell.
            for y in range(len(grid)):
                for x in range(len(row)):
                    # 4. If both numbers are equal, give the cell the color.
                    if abs(y - r) == abs(x - c):
                        output[y][x] = color
    result = output
    return result
