def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The most common color is the background.
    3. There is at least one triangle of one color, whose long side is a row or a column of cells.
    4. The middle cell of the long side, the dot, has another color.
    5. So a dot is the only kind of cell that is not background and has exactly three neighbors
       of one other color that is not background either. The fourth neighbor is background or
       outside the grid.
    6. In the output a line of the dot's color starts just beyond the tip of the triangle, opposite
       to the dot, and runs straight away from it to the border of the grid.
    Procedure:
    1. Find the background.
    2. For each cell that is not background, look at its four neighbors. It is a dot if exactly
       three of them have one same color that is neither the background nor the cell's own.
    3. Walk from the dot in the direction opposite to the fourth neighbor, through the triangle.
    4. Color each background cell that follows, up to the border.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [value for row in grid for value in row]
    background = max(set(cells), key=cells.count)
    output = [list(row) for row in grid]
    for row in range(height):
        for column in range(width):
            # 2. For each cell that is not background, look at its four neighbors. It is a dot if
            # exactly three of them have one same color that is neither the background nor the
            # cell's own.
            color = grid[row][column]
            if color == background:
                continue
            around = {}
            for dr, dc in [(-1, 0), (1, 0), (0, -1), (0, 1)]:
                r = row + dr
                c = column + dc
                inside = 0 <= r < height and 0 <= c < width
                around[(dr, dc)] = grid[r][c] if inside else background
            for dr, dc in around:
                others = [around[step] for step in around if step != (dr, dc)]
                body = others[0]
                if others != [body] * 3 or body in (background, color, around[(dr, dc)]):
                    continue
                # 3. Walk from the dot in the direction opposite to the fourth neighbor, through
                # the triangle.
                r = row - dr
                c = column - dc
                while 0 <= r < height and 0 <= c < width and grid[r][c] == body:
                    r -= dr
                    c -= dc
                # 4. Color each background cell that follows, up to the border.
                while 0 <= r < height and 0 <= c < width:
                    if grid[r][c] == background:
                        output[r][c] = color
                    r -= dr
                    c -= dc
    result = output
    return result
