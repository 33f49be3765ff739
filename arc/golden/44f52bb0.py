def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output is 1x1.
    2. The output is 1 or 7.
    3. It is 1 if the input stays the same when mirrored left to right or flipped upside down.
    4. It is 7 if both mirror images differ from the input.
    Procedure:
    1. Mirror the input left to right.
    2. Flip the input upside down.
    3. Compare both with the input.
    4. Return 1 if one of them is equal to the input, else 7.
    """
    # 1. Mirror the input left to right.
    mirrored = [row[::-1] for row in grid]
    # 2. Flip the input upside down.
    flipped = grid[::-1]
    # 3. Compare both with the input.
    same = mirrored == grid or flipped == grid
    # 4. Return 1 if one of them is equal to the input, else 7.
    result = [[1]] if same else [[7]]
    return result
