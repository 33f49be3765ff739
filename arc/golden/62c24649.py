def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input is 3x3 and the output is 6x6.
    2. The top left quarter of the output is the input.
    3. The right half is the left half mirrored left to right.
    4. The bottom half is the top half flipped upside down.
    Procedure:
    1. Add the reversed row to each row.
    2. Add the same rows in reversed order below.
    """
    # 1. Add the reversed row to each row.
    top = [row + row[::-1] for row in grid]
    # 2. Add the same rows in reversed order below.
    bottom = top[::-1]
    result = top + bottom
    return result
