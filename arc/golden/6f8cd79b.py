def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The input is all 0.
    3. The cells on the border become 8.
    4. The cells inside stay 0.
    Procedure:
    1. Count the rows and the columns.
    2. Make a row of 8 for the top and the bottom.
    3. Make a row for the middle: 8 at both ends and 0 between.
    4. Put middle rows between the top and the bottom.
    """
    # 1. Count the rows and the columns.
    height = len(grid)
    width = len(grid[0])
    # 2. Make a row of 8 for the top and the bottom.
    edge = [8] * width
    # 3. Make a row for the middle: 8 at both ends and 0 between.
    middle = [8] + [0] * (width - 2) + [8]
    # 4. Put middle rows between the top and the bottom.
    result = [edge] + [middle] * (height - 2) + [edge]
    return result
