def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output are squares of the same size.
    2. Each row of the output is also a row of the input.
    3. The first row of the output is the last row of the input.
    4. The output is the input flipped upside down.
    Procedure:
    1. Count the rows.
    2. Take the rows from the last to the first.
    """
    # 1. Count the rows.
    height = len(grid)
    # 2. Take the rows from the last to the first.
    result = [list(grid[height - 1 - i]) for i in range(height)]
    return result
