def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color. Two or more corners of the grid hold a single
       colored cell, the dots.
    3. Each dot is surrounded by colored rings in its own color, like halves or quarters of squares.
    4. The rings are at the distances 2, 4, 6 and so on: every second ring stays background. The
       ring number is the larger one of the distances in rows and in columns.
    5. A cell belongs to the dot that is nearest, counted in steps up, down, left and right. Cells
       that are equally near to two dots stay background.
    Procedure:
    1. Find the background and the dots.
    2. For each cell compute the number of steps to each dot: rows plus columns between them.
    3. If exactly one dot is nearest, take it. Else leave the cell.
    4. The ring number is the larger one of rows and columns between the cell and the dot. If it is
       even, color the cell with the color of the dot.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background and the dots.
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)
    dots = [(r, c) for r in range(height) for c in range(width) if grid[r][c] != background]
    output = [list(row) for row in grid]
    for r in range(height):
        for c in range(width):
            # 2. For each cell compute the number of steps to each dot: rows plus columns between
            #    them.
            steps = [abs(r - dot_r) + abs(c - dot_c) for dot_r, dot_c in dots]
            # 3. If exactly one dot is nearest, take it. Else leave the cell.
            if not steps or steps.count(min(steps)) > 1:
                continue
            dot_r, dot_c = dots[steps.index(min(steps))]
            # 4. The ring number is the larger one of rows and columns between the cell and the
            #    dot. If it is even, color the cell with the color of the dot.
            ring = max(abs(r - dot_r), abs(c - dot_c))
            if ring % 2 == 0:
                output[r][c] = grid[dot_r][dot_c]
    result = output
    return result
