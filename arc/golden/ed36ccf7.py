def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output are 3x3.
    2. The input has only one color besides 0.
    3. The first row of the output is the last column of the input, from top to bottom.
    4. The output is the input rotated by 90 degrees to the left.
    Procedure:
    1. Go through the columns from the last to the first.
    2. Make each column a row of the output.
    """
    output = []
    # 1. Go through the columns from the last to the first.
    for c in range(len(grid[0]) - 1, -1, -1):
        # 2. Make each column a row of the output.
        output.append([row[c] for row in grid])
    result = output
    return result
