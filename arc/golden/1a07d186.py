def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color.
    3. The input has lines of one color from edge to edge, all horizontal or all vertical.
    4. The lines have different colors, and they stay where they are.
    5. Besides the lines there are single cells that are not background.
    6. A cell with the color of a line moves straight to the line and stops beside it.
    7. It comes to the side of the line on which it was, even if there are other lines between.
    8. A cell whose color is not the color of a line disappears.
    Procedure:
    1. Find the background: the most common color.
    2. If the lines are vertical, swap rows and columns, so that all lines are horizontal.
    3. Make an output of background, copy the lines to it, and note the row of each line's color.
    4. Go through the cells that are on no line and have the color of a line.
    5. If the cell is above its line, color the cell just above the line in the same column.
    6. Else color the cell just below the line in the same column.
    7. Swap rows and columns back, if they were swapped.
    """
    # 1. Find the background: the most common color.
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)

    def is_line(row):
        return row[0] != background and len(set(row)) == 1

    # 2. If the lines are vertical, swap rows and columns, so that all lines are horizontal.
    vertical = not any(is_line(row) for row in grid)
    if vertical:
        grid = [list(column) for column in zip(*grid)]
    height = len(grid)
    width = len(grid[0])
    # 3. Make an output of background, copy the lines to it, and note the row of each line's color.
    output = [[background] * width for _ in range(height)]
    line_row = {}
    for r in range(height):
        if is_line(grid[r]):
            output[r] = grid[r][:]
            line_row[grid[r][0]] = r
    # 4. Go through the cells that are on no line and have the color of a line.
    for r in range(height):
        for c in range(width):
            color = grid[r][c]
            if is_line(grid[r]) or color not in line_row:
                continue
            # 5. If the cell is above its line, color the cell just above the line in the same
            #    column.
            if r < line_row[color]:
                output[line_row[color] - 1][c] = color
            # 6. Else color the cell just below the line in the same column.
            else:
                output[line_row[color] + 1][c] = color
    # 7. Swap rows and columns back, if they were swapped.
    if vertical:
        output = [list(column) for column in zip(*output)]
    result = output
    return result
