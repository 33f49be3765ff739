def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input has one row: some cells of one color, then zeros.
    2. The output has the same width, and half as many rows as columns.
    3. The first row of the output is the input.
    4. Each row has one more colored cell than the row above.
    Procedure:
    1. Take the color and count its cells.
    2. Go through the rows, half as many as columns.
    3. Add a row with one more colored cell than the row before.
    """
    # 1. Take the color and count its cells.
    width = len(grid[0])
    color = grid[0][0]
    count = grid[0].count(color)
    output = []
    # 2. Go through the rows, half as many as columns.
    for r in range(width // 2):
        # 3. Add a row with one more colored cell than the row before.
        colored = count + r
        output.append([color] * colored + [0] * (width - colored))
    result = output
    return result
