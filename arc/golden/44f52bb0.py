def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input is 3x3 and the output is 1x1.
    2. The input has only the colors 0 and 2.
    3. The output is 1 or 7.
    4. It is 1 if the input is the same when mirrored left to right, else 7.
    Procedure:
    1. Mirror the input left to right.
    2. Compare it with the input.
    3. Return 1 if they are equal, else 7.
    """
    # 1. Mirror the input left to right.
    mirrored = [row[::-1] for row in grid]
    # 2. Compare it with the input.
    same = mirrored == grid
    # 3. Return 1 if they are equal, else 7.
    result = [[1]] if same else [[7]]
    return result
