def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The input is a random mixture of two colors, crossed by full lines of one of them.
    3. A full line is a whole row or a whole column of one single color.
    4. In the output all full lines have the color 2; all other cells are unchanged.
    Procedure:
    1. List the rows that have one single color.
    2. List the columns that have one single color.
    3. Color all cells of these rows and columns with 2.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. List the rows that have one single color.
    full_rows = []
    for r in range(height):
        if all(grid[r][c] == grid[r][0] for c in range(width)):
            full_rows.append(r)
    # 2. List the columns that have one single color.
    full_columns = []
    for c in range(width):
        if all(grid[r][c] == grid[0][c] for r in range(height)):
            full_columns.append(c)
    # 3. Color all cells of these rows and columns with 2.
    output = [list(row) for row in grid]
    for r in range(height):
        for c in range(width):
            if r in full_rows or c in full_columns:
                output[r][c] = 2
    result = output
    return result
