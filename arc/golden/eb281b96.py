def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output is as wide as the input, but higher.
    2. The first rows of the output are the input.
    3. Then the rows go back up to the first row, without repeating the last one: they are the
       input mirrored upside down.
    4. Then the whole pattern goes down and up once more: the output is a wave of two periods that
       ends with the first row.
    Procedure:
    1. Take the rows from the first to the last.
    2. Add the rows from the last but one back to the first.
    3. Add the rows from the second to the last.
    4. Add the rows from the last but one back to the first again.
    """
    # 1. Take the rows from the first to the last.
    wave = list(grid)
    # 2. Add the rows from the last but one back to the first.
    back = grid[::-1][1:]
    wave += back
    # 3. Add the rows from the second to the last.
    wave += grid[1:]
    # 4. Add the rows from the last but one back to the first again.
    wave += back
    result = [list(row) for row in wave]
    return result
