def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size; the background is the most common color.
    2. The lines are either all rows or all columns.
    3. One line is full: it has no background; its cells have two colors in some order.
    4. Some other lines have only their first few cells colored, in two colors, and then background.
       All other lines are all background.
    5. In the output these lines are complete. They follow the sequence of the full line: where that
       one has its first color they have one color, where it has its second color the other one.
    Procedure:
    1. Find the background: the most common color.
    2. If no row is without background, swap rows and columns.
    3. The full line is the row without background.
    4. For each other row with colored cells, note which color it has in the places of each color
       of the full line.
    5. Give each cell of the row the color that is noted for the color of the full line there.
    6. Swap rows and columns back, if they were swapped.
    """
    # 1. Find the background: the most common color.
    flat = [cell for row in grid for cell in row]
    background = max(set(flat), key=flat.count)
    # 2. If no row is without background, swap rows and columns.
    swapped = all(background in row for row in grid)
    if swapped:
        grid = [list(column) for column in zip(*grid)]
    # 3. The full line is the row without background.
    full = [row for row in grid if background not in row][0]
    output = []
    for row in grid:
        # 4. For each other row with colored cells, note which color it has in the places of each
        #    color of the full line.
        colors = {}
        for cell, color in zip(row, full):
            if cell != background:
                colors[color] = cell
        # 5. Give each cell of the row the color that is noted for the color of the full line there.
        output.append([colors.get(color, background) for color in full])
    # 6. Swap rows and columns back, if they were swapped.
    if swapped:
        output = [list(column) for column in zip(*output)]
    result = output
    return result
