def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The most common color is the background.
    3. There are straight pieces of lines, at least two cells long, each of one color. A piece
       starts at a border of the grid and runs straight away from it. Some are flat, others are
       upright. No two pieces touch each other.
    4. In the output each piece has become a full line from border to border, in its color.
    5. Where a flat and an upright line cross, the cell is 4.
    Procedure:
    1. Find the background.
    2. A row has a flat line if its first two or its last two cells have one same color that is not
       background; note this color.
    3. A column has an upright line if its first two or its last two cells have one same color that
       is not background; note this color.
    4. Fill the rows and the columns that have a line with the noted colors.
    5. Color the cells where both a row and a column have a line with 4.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [value for row in grid for value in row]
    background = max(set(cells), key=cells.count)
    def line_color(line):
        for first, second in [(line[0], line[1]), (line[-1], line[-2])]:
            if first == second and first != background:
                return first
        return None
    # 2. A row has a flat line if its first two or its last two cells have one same color that is
    # not background; note this color.
    row_colors = [line_color(row) for row in grid]
    # 3. A column has an upright line if its first two or its last two cells have one same color
    # that is not background; note this color.
    column_colors = [line_color(list(column)) for column in zip(*grid)]
    output = [list(row) for row in grid]
    for r in range(height):
        for c in range(width):
            # 4. Fill the rows and the columns that have a line with the noted colors.
            if row_colors[r] is not None:
                output[r][c] = row_colors[r]
            if column_colors[c] is not None:
                output[r][c] = column_colors[c]
            # 5. Color the cells where both a row and a column have a line with 4.
            if row_colors[r] is not None and column_colors[c] is not None:
                output[r][c] = 4
    result = output
    return result
