def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output are 3x3.
    2. The output has the same colors as the input, each the same number of times.
    3. The first row of the output is the last row of the input, reversed.
    4. The whole output is the input rotated by 180 degrees.
    Procedure:
    1. Reverse the order of the rows.
    2. Reverse each row.
    """
    # 1. Reverse the order of the rows.
    rows = grid[::-1]
    # 2. Reverse each row.
    result = [row[::-1] for row in rows]
    return result
