def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output are squares of the same size.
    2. Each column of the output has the same colors as that column of the input, in the same order.
    3. In the output no 0 is below a color.
    4. The colors fall down to the bottom of their column.
    Procedure:
    1. Make an output of zeros.
    2. Go through the columns and collect the cells that are not 0.
    3. Put them at the bottom of the column, in the same order.
    """
    # 1. Make an output of zeros.
    height = len(grid)
    width = len(grid[0])
    output = [[0] * width for _ in range(height)]
    # 2. Go through the columns and collect the cells that are not 0.
    for c in range(width):
        colors = [row[c] for row in grid if row[c] != 0]
        # 3. Put them at the bottom of the column, in the same order.
        for i, color in enumerate(colors):
            output[height - len(colors) + i][c] = color
    result = output
    return result
