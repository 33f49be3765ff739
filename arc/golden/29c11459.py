def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have 5 rows and 11 columns.
    2. A row of the input is all 0, or has a color only at its left end and at its right end.
    3. Rows that are all 0 stay the same.
    4. In the other rows each color fills its half, and the middle cell is 5.
    Procedure:
    1. Go through the rows.
    2. If the row has colors, draw the left color, then 5, then the right color.
    3. Else keep the row.
    """
    half = len(grid[0]) // 2
    output = []
    # 1. Go through the rows.
    for row in grid:
        if row[0] != 0:
            # 2. If the row has colors, draw the left color, then 5, then the right color.
            output.append([row[0]] * half + [5] + [row[-1]] * half)
        else:
            # 3. Else keep the row.
            output.append(list(row))
    result = output
    return result
