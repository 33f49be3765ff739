def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output has as many rows as the input.
    2. The output is twice as wide as the input.
    3. The left half and the right half of the output are both the input.
    Procedure:
    1. Go through the rows.
    2. Put each row twice, side by side.
    """
    output = []
    # 1. Go through the rows.
    for row in grid:
        # 2. Put each row twice, side by side.
        output.append(row + row)
    result = output
    return result
