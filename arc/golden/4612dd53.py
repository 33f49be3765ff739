def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size; the background is the most common color.
    2. The input has cells of one other color, the output also cells of color 2.
    3. The cells that are not background are parts of the outline of a rectangle.
    4. Each of its four sides has some of them.
    5. There may be one more line from side to side inside, of which at least two cells are there.
    6. In the output the missing cells of the outline and of the line inside have color 2.
    Procedure:
    1. Find the background: the most common color.
    2. Find the smallest rectangle around all cells that are not background.
    3. Collect those of the cells that are inside the rectangle and not on its outline.
    4. If there are some and all are in one row, the line inside is this row.
    5. If there are some and all are in one column, the line inside is this column.
    6. On the outline and on the line inside, give all cells of the background the color 2.
    """
    # 1. Find the background: the most common color.
    colors = [cell for row in grid for cell in row]
    background = max(set(colors), key=colors.count)
    # 2. Find the smallest rectangle around all cells that are not background.
    cells = []
    for r in range(len(grid)):
        for c in range(len(grid[0])):
            if grid[r][c] != background:
                cells.append((r, c))
    top, bottom = min(r for r, c in cells), max(r for r, c in cells)
    left, right = min(c for r, c in cells), max(c for r, c in cells)
    # 3. Collect those of the cells that are inside the rectangle and not on its outline.
    inside = [(r, c) for r, c in cells if top < r < bottom and left < c < right]
    line_rows = [top, bottom]
    line_columns = [left, right]
    # 4. If there are some and all are in one row, the line inside is this row.
    if len({r for r, c in inside}) == 1:
        line_rows.append(inside[0][0])
    # 5. If there are some and all are in one column, the line inside is this column.
    elif len({c for r, c in inside}) == 1:
        line_columns.append(inside[0][1])
    # 6. On the outline and on the line inside, give all cells of the background the color 2.
    output = [row[:] for row in grid]
    for r in range(top, bottom + 1):
        for c in range(left, right + 1):
            if (r in line_rows or c in line_columns) and grid[r][c] == background:
                output[r][c] = 2
    result = output
    return result
