def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output is twice as high and twice as wide as the input.
    2. The background is the most common color, and the input has a few cells of other colors.
    3. The top left quarter of the output has the input.
    4. From each colored cell a diagonal line of its color goes down and to the right, to the border
       of the output.
    Procedure:
    1. Find the background, and make an output of it, twice as high and wide.
    2. Go through the colored cells of the input, from top to bottom and from left to right.
    3. Go on from each cell, one row down and one column to the right, and color the cells.
    """
    # 1. Find the background, and make an output of it, twice as high and wide.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    height = 2 * len(grid)
    width = 2 * len(grid[0])
    output = [[background] * width for _ in range(height)]
    # 2. Go through the colored cells of the input, from top to bottom and from left to right.
    for r, row in enumerate(grid):
        for c, color in enumerate(row):
            if color == background:
                continue
            # 3. Go on from each cell, one row down and one column to the right, and color the
            #    cells.
            for step in range(min(height - r, width - c)):
                output[r + step][c + step] = color
    result = output
    return result
