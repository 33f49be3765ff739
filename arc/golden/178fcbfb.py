def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is 0.
    2. The input has single cells of 1, 2 and 3. No cell of 1 and cell of 3 share a row.
    3. Each cell of 2 becomes a vertical line over the whole height.
    4. Each cell of 1 or 3 becomes a horizontal line over the whole width, in its color.
    5. Where lines cross, the horizontal one is seen.
    Procedure:
    1. Find the columns with a cell of 2, and color them with 2.
    2. Then find the rows with a cell of 1 or 3, and color them with this color.
    """
    height = len(grid)
    width = len(grid[0])
    output = [list(row) for row in grid]
    # 1. Find the columns with a cell of 2, and color them with 2.
    for c in range(width):
        column = [row[c] for row in grid]
        if 2 in column:
            for r in range(height):
                output[r][c] = 2
    # 2. Then find the rows with a cell of 1 or 3, and color them with this color.
    for r in range(height):
        for color in (1, 3):
            if color in grid[r]:
                output[r] = [color] * width
    result = output
    return result
