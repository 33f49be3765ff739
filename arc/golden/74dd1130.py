def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output are 3x3.
    2. The cells on the diagonal from the top left to the bottom right stay the same.
    3. The first row of the output is the first column of the input.
    4. Each row of the output is a column of the input: the output is the transpose.
    Procedure:
    1. Count the rows and the columns.
    2. Make each column of the input a row of the output.
    """
    # 1. Count the rows and the columns.
    height = len(grid)
    width = len(grid[0])
    # 2. Make each column of the input a row of the output.
    result = [[grid[r][c] for r in range(height)] for c in range(width)]
    return result
