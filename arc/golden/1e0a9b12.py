def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color.
    3. Each column of the output has the same colors as that column of the input, in the same order.
    4. In the output no background cell is below a cell of another color.
    5. The colors fall down to the bottom of their column.
    Procedure:
    1. Make an output of the background color.
    2. Go through the columns and collect the cells that are not background.
    3. Put them at the bottom of the column, in the same order.
    """
    # 1. Make an output of the background color.
    height = len(grid)
    width = len(grid[0])
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    output = [[background] * width for _ in range(height)]
    # 2. Go through the columns and collect the cells that are not background.
    for c in range(width):
        colors = [row[c] for row in grid if row[c] != background]
        # 3. Put them at the bottom of the column, in the same order.
        for i, color in enumerate(colors):
            output[height - len(colors) + i][c] = color
    result = output
    return result
