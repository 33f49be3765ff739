def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input is 3x3 and the output is 6x3.
    2. The top half of the output is the input.
    3. The last row of the output is the first row of the input.
    4. The bottom half is the input flipped upside down.
    Procedure:
    1. Start with the rows of the input.
    2. Add the rows again, from the last to the first.
    """
    # 1. Start with the rows of the input.
    output = [list(row) for row in grid]
    # 2. Add the rows again, from the last to the first.
    for row in grid[::-1]:
        output.append(list(row))
    result = output
    return result
