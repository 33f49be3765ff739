def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have 2 rows and 6 columns.
    2. Each row of the input has only one color.
    3. The first column stays the same, the second column is swapped.
    4. Every second column is swapped, the other columns stay the same.
    Procedure:
    1. Take the color of each row.
    2. Alternate the two colors in each row.
    """
    # 1. Take the color of each row.
    a = grid[0][0]
    b = grid[1][0]
    # 2. Alternate the two colors in each row.
    result = [[a, b] * 3, [b, a] * 3]
    return result
