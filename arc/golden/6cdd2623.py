def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The input has a background, the most common color, and many scattered cells of other colors.
    3. The output has only full rows and full columns of one color on the background.
    4. These rows and columns have this color at both ends in the input.
    5. By chance a row or column can have another color, not background, at both ends, but no other
       color has as many of them.
    Procedure:
    1. Find the background: the most common color.
    2. For each other color find the rows and the columns that have it at both ends.
    3. Take the color that has the most of these rows and columns.
    4. Color the cells of these rows and columns with this color, all others with the background.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)
    # 2. For each other color find the rows and the columns that have it at both ends.
    rows = {}
    columns = {}
    colors = sorted(set(cells) - {background})
    for color in colors:
        rows[color] = [r for r in range(height) if grid[r][0] == grid[r][-1] == color]
        columns[color] = [c for c in range(width) if grid[0][c] == grid[-1][c] == color]
    # 3. Take the color that has the most of these rows and columns.
    line = max(colors, key=lambda color: len(rows[color]) + len(columns[color]))
    # 4. Color the cells of these rows and columns with this color, all others with the background.
    output = [[background] * width for row in grid]
    for r in range(height):
        for c in range(width):
            if r in rows[line] or c in columns[line]:
                output[r][c] = line
    result = output
    return result
