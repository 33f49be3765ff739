def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output are squares of the same size.
    2. Each row of the output has the same colors as that row of the input.
    3. The first column of the output is the last column of the input.
    4. The output is the input mirrored left to right.
    Procedure:
    1. Go through the rows from top to bottom.
    2. Reverse each row.
    3. Return the reversed rows.
    """
    output = []
    # 1. Go through the rows from top to bottom.
    for row in grid:
        # 2. Reverse each row.
        output.append(row[::-1])
    # 3. Return the reversed rows.
    result = output
    return result
