def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output are 3x3.
    2. The first row stays the same.
    3. Cells that are not 0 stay the same.
    4. A cell that is 0 gets the color of the output cell above it.
    Procedure:
    1. Copy the input.
    2. Go down from the second row.
    3. Fill each 0 with the color of the cell above it.
    """
    # 1. Copy the input.
    output = [list(row) for row in grid]
    # 2. Go down from the second row.
    for r in range(1, len(grid)):
        for c in range(len(grid[0])):
            # 3. Fill each 0 with the color of the cell above it.
            if output[r][c] == 0:
                output[r][c] = output[r - 1][c]
    result = output
    return result
