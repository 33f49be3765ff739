def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have 10 rows and 4 columns.
    2. The top half of the input is all 0.
    3. The bottom half stays the same.
    4. The top half of the output is the bottom half flipped upside down.
    Procedure:
    1. Take the bottom half of the rows.
    2. Reverse the order of its rows to get the top half.
    3. Put the top half above the bottom half.
    """
    # 1. Take the bottom half of the rows.
    bottom = grid[len(grid) // 2 :]
    # 2. Reverse the order of its rows to get the top half.
    top = bottom[::-1]
    # 3. Put the top half above the bottom half.
    result = top + bottom
    return result
