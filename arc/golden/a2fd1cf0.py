def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The most common color is the background.
    3. There is one cell of color 2 and one cell of color 3.
    4. In the output they are joined by a path of color 8 that runs straight and turns once.
    5. The path leaves the 2 along its row, turns in the column of the 3, and reaches the 3 along
       this column. The 2 and the 3 are kept.
    Procedure:
    1. Find the 2 and the 3.
    2. Color the row of the 2 with 8, from its column to the column of the 3.
    3. Color the column of the 3 with 8, from the row of the 2 to its row.
    4. Write the 2 and the 3 again.
    """
    # 1. Find the 2 and the 3.
    start = None
    end = None
    for r in range(len(grid)):
        for c in range(len(grid[0])):
            if grid[r][c] == 2:
                start = (r, c)
            if grid[r][c] == 3:
                end = (r, c)
    # 2. Color the row of the 2 with 8, from its column to the column of the 3.
    output = [list(row) for row in grid]
    for c in range(min(start[1], end[1]), max(start[1], end[1]) + 1):
        output[start[0]][c] = 8
    # 3. Color the column of the 3 with 8, from the row of the 2 to its row.
    for r in range(min(start[0], end[0]), max(start[0], end[0]) + 1):
        output[r][end[1]] = 8
    # 4. Write the 2 and the 3 again.
    output[start[0]][start[1]] = 2
    output[end[0]][end[1]] = 3
    result = output
    return result
