def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The input has one cell of color 8 and one cell of color 2. They stay the same.
    3. A path of color 4 joins them.
    4. The path goes from the 8 up or down to the row of the 2.
    5. From there it goes left or right to the 2.
    Procedure:
    1. Find the 8 and the 2.
    2. Color the cells between them in the column of the 8 with 4, up to the row of the 2.
    3. Color the cells between them in the row of the 2 with 4, up to the column of the 8.
    4. Draw the 8 and the 2 again.
    """
    # 1. Find the 8 and the 2.
    r8, c8, r2, c2 = 0, 0, 0, 0
    for r, row in enumerate(grid):
        for c, cell in enumerate(row):
            if cell == 8:
                r8, c8 = r, c
            if cell == 2:
                r2, c2 = r, c
    output = [list(row) for row in grid]
    # 2. Color the cells between them in the column of the 8 with 4, up to the row of the 2.
    for r in range(min(r8, r2), max(r8, r2) + 1):
        output[r][c8] = 4
    # 3. Color the cells between them in the row of the 2 with 4, up to the column of the 8.
    for c in range(min(c8, c2), max(c8, c2) + 1):
        output[r2][c] = 4
    # 4. Draw the 8 and the 2 again.
    output[r8][c8] = 8
    output[r2][c2] = 2
    result = output
    return result
