def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The first and the last row are lines of one color each, or else the first and the last column
       are. The two lines have different colors.
    3. The background is the most common color. Between the lines there are dots of a third color.
    4. Each dot gets the color of the line that is nearer to it.
    5. All other cells stay the same.
    Procedure:
    1. Find the background. Look whether the first row is a line: it has only one color, which is
       not background.
    2. Go through the dots: all cells that are neither background nor a part of a line.
    3. Find the line that is nearer to the dot.
    4. Give the dot the color of this line.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background. Look whether the first row is a line: it has only one color, which
    #    is not background.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    lines_are_rows = len(set(grid[0])) == 1 and grid[0][0] != background
    output = [list(row) for row in grid]
    # 2. Go through the dots: all cells that are neither background nor a part of a line.
    for r in range(height):
        for c in range(width):
            if grid[r][c] == background:
                continue
            # 3. Find the line that is nearer to the dot.
            # 4. Give the dot the color of this line.
            if lines_are_rows:
                output[r][c] = grid[0][0] if r < height - 1 - r else grid[-1][0]
            else:
                output[r][c] = grid[0][0] if c < width - 1 - c else grid[0][-1]
    result = output
    return result
