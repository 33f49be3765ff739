def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size, and the background is the most common color.
    2. One whole row, or else one whole column, has one other color: it is a wall.
    3. There are dots of color 1 and 2. Each dot draws a line of its color, in the direction that
       crosses the wall.
    4. A dot of color 2 draws it towards the wall, and the line ends at the wall.
    5. A dot of color 1 draws it away from the wall, and the line ends at the border of the grid.
    Procedure:
    1. Find the background. If no whole row is a wall, swap rows and columns.
    2. Go through the dots above and below the wall.
    3. A dot of color 2 above the wall goes down, a dot of color 2 below the wall goes up.
    4. A dot of color 1 goes in the opposite direction.
    5. Color the background cells on the way, up to the wall or the border.
    6. If rows and columns were swapped, swap them back.
    """
    # 1. Find the background. If no whole row is a wall, swap rows and columns.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    walls = [r for r, row in enumerate(grid) if len(set(row)) == 1 and row[0] != background]
    swapped = not walls
    rows = [list(row) for row in zip(*grid)] if swapped else [list(row) for row in grid]
    wall = next(r for r, row in enumerate(rows) if len(set(row)) == 1 and row[0] != background)
    output = [list(row) for row in rows]
    # 2. Go through the dots above and below the wall.
    for r in range(len(rows)):
        for c in range(len(rows[0])):
            if r == wall or rows[r][c] == background:
                continue
            # 3. A dot of color 2 above the wall goes down, a dot of color 2 below the wall goes up.
            step = 1 if r < wall else -1
            # 4. A dot of color 1 goes in the opposite direction.
            if rows[r][c] == 1:
                step = -step
            # 5. Color the background cells on the way, up to the wall or the border.
            y = r + step
            while 0 <= y < len(rows) and y != wall:
                if rows[y][c] == background:
                    output[y][c] = rows[r][c]
                y += step
    # 6. If rows and columns were swapped, swap them back.
    result = [list(row) for row in zip(*output)] if swapped else output
    return result
