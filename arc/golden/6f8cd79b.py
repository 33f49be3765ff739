def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The cells on the border become 8.
    3. The cells inside stay the same.
    Procedure:
    1. Count the rows and the columns.
    2. Copy the input.
    3. Go through the cells, and set those in the first or last row or column to 8.
    """
    # 1. Count the rows and the columns.
    height = len(grid)
    width = len(grid[0])
    # 2. Copy the input.
    output = [list(row) for row in grid]
    # 3. Go through the cells, and set those in the first or last row or column to 8.
    for r in range(height):
        for c in range(width):
            if r in (0, height - 1) or c in (0, width - 1):
                output[r][c] = 8
    result = output
    return result
