def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output is smaller than the input.
    2. Rows and columns of one color, the lines, cut the input into parts.
    3. All parts are filled with one background color, but one part holds one odd cell.
    4. The color of the odd cell occurs only there: it is the rarest color of the grid.
    5. The output is the part with the odd cell.
    Procedure:
    1. Find the odd cell: the one with the rarest color.
    2. Find the lines: rows with only one color and columns with only one color.
    3. Go from the odd cell up, down, left and right until the next cell is on a line or outside.
    4. Cut out the part between these rows and columns.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the odd cell: the one with the rarest color.
    cells = [cell for row in grid for cell in row]
    rarest = min(set(cells), key=cells.count)
    position = cells.index(rarest)
    top = bottom = position // width
    left = right = position % width
    # 2. Find the lines: rows with only one color and columns with only one color.
    line_rows = [r for r in range(height) if len(set(grid[r])) == 1]
    line_columns = [c for c in range(width) if len({row[c] for row in grid}) == 1]
    # 3. Go from the odd cell up, down, left and right until the next cell is on a line or outside.
    while top > 0 and top - 1 not in line_rows:
        top -= 1
    while bottom < height - 1 and bottom + 1 not in line_rows:
        bottom += 1
    while left > 0 and left - 1 not in line_columns:
        left -= 1
    while right < width - 1 and right + 1 not in line_columns:
        right += 1
    # 4. Cut out the part between these rows and columns.
    part = [row[left : right + 1] for row in grid[top : bottom + 1]]
    result = part
    return result
