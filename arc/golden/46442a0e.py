def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input is a square grid of any colors.
    2. The output is twice as high and twice as wide, and consists of four quarters.
    3. The upper left quarter is the input.
    4. The upper right quarter is the input turned by a quarter turn clockwise, the lower right
       one is the input turned by a half turn, and the lower left one is the input turned by a
       quarter turn counterclockwise.
    Procedure:
    1. Turn the input clockwise once, twice and three times.
    2. For a quarter turn clockwise, each new row is a column of the old grid, read from the bottom
       to the top; the columns are taken from left to right.
    3. Put the input and its first turn side by side; these are the upper rows.
    4. Put the third turn and the second turn side by side; these are the lower rows.
    """
    size = len(grid)
    # 1. Turn the input clockwise once, twice and three times.
    versions = [grid]
    for _ in range(3):
        old = versions[-1]
        # 2. For a quarter turn clockwise, each new row is a column of the old grid, read from the
        # bottom to the top; the columns are taken from left to right.
        turned = []
        for c in range(size):
            turned.append([old[r][c] for r in range(size - 1, -1, -1)])
        versions.append(turned)
    output = []
    # 3. Put the input and its first turn side by side; these are the upper rows.
    for r in range(size):
        output.append(versions[0][r] + versions[1][r])
    # 4. Put the third turn and the second turn side by side; these are the lower rows.
    for r in range(size):
        output.append(versions[3][r] + versions[2][r])
    result = output
    return result
