def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The input has two colors: 5 and one other color.
    3. The output has the other color and 0.
    4. Each 5 becomes the other color, and each cell of the other color becomes 0.
    Procedure:
    1. Find the color that is not 5.
    2. Go through the rows.
    3. Write this color for each 5, and 0 for all other cells.
    """
    # 1. Find the color that is not 5.
    colors = {cell for row in grid for cell in row}
    other = max(colors - {5}, default=0)
    output = []
    # 2. Go through the rows.
    for row in grid:
        # 3. Write this color for each 5, and 0 for all other cells.
        output.append([other if cell == 5 else 0 for cell in row])
    result = output
    return result
