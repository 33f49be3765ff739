def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output are 3x3.
    2. The input has only one color besides 0.
    3. The last row of the input and the first row of the output are all 0.
    4. The output is the input moved down by one row.
    Procedure:
    1. Start with a row of 0.
    2. Add all rows of the input but the last.
    """
    # 1. Start with a row of 0.
    first = [0] * len(grid[0])
    # 2. Add all rows of the input but the last.
    result = [first] + [list(row) for row in grid[:-1]]
    return result
