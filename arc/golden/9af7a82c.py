def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. Each column of the output has one color of the input, at its top, then zeros.
    2. Each color comes as many times in the output as in the input.
    3. No two colors come equally often in the input.
    4. The colors are sorted: the most common color is on the left.
    5. The output is as high as the number of cells of the most common color.
    Procedure:
    1. List all cells of the input.
    2. Sort the colors from the most common to the least common.
    3. Count the most common color: this is the height.
    4. In each row show a color if it comes more often than there are rows above, else 0.
    """
    # 1. List all cells of the input.
    cells = [cell for row in grid for cell in row]
    # 2. Sort the colors from the most common to the least common.
    colors = sorted(set(cells), key=cells.count, reverse=True)
    # 3. Count the most common color: this is the height.
    height = cells.count(colors[0])
    # 4. In each row show a color if it comes more often than there are rows above, else 0.
    result = [[color if cells.count(color) > r else 0 for color in colors] for r in range(height)]
    return result
