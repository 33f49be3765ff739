def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. Empty rows and columns of the background color divide the input into four parts.
    2. Each part has one color besides the background.
    3. Three parts have the same color, and one part has another color.
    4. The output is a copy of the part with the other color.
    5. The box around all cells of this color has no cell of the first color, but the box around
       the first color covers all parts.
    Procedure:
    1. Take the color of a row that has only one color as the background.
    2. Find the box around all cells of each other color.
    3. Return the box that has no color besides the background and its own.
    """
    # 1. Take the color of a row that has only one color as the background.
    background = next(row[0] for row in grid if len(set(row)) == 1)
    colors = {cell for row in grid for cell in row if cell != background}
    output = []
    for color in colors:
        # 2. Find the box around all cells of each other color.
        rows = [r for r, row in enumerate(grid) if color in row]
        columns = [c for c, column in enumerate(zip(*grid)) if color in column]
        box = [row[columns[0] : columns[-1] + 1] for row in grid[rows[0] : rows[-1] + 1]]
        # 3. Return the box that has no color besides the background and its own.
        if {cell for row in box for cell in row} <= {background, color}:
            output = box
    result = output
    return result
