def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size; the background is the most common color.
    2. Four cells of one color, which is nowhere else, are the corners of a rectangle, the frame.
    3. All other cells that are not background form an object, which is as high and as wide as the
       space inside the frame.
    4. In the output the frame is where it was, and the object has moved exactly into it.
    Procedure:
    1. Find the background: the most common color.
    2. Find the frame: the color with exactly four cells, which are the corners of the smallest
       rectangle around them, the largest one if several colors are like that.
    3. Collect the cells of the object, and find its first row and its first column.
    4. It has to move so that its first row is just below the first row of the frame, and its first
       column just right of the first column of the frame.
    5. Make an output of background with the corners of the frame and the moved object.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    flat = [cell for row in grid for cell in row]
    background = max(set(flat), key=flat.count)
    # 2. Find the frame: the color with exactly four cells, which are the corners of the smallest
    #    rectangle around them, the largest one if several colors are like that.
    largest = 0
    places = [(r, c) for r in range(height) for c in range(width)]
    for color in set(flat):
        cells = [(r, c) for r, c in places if grid[r][c] == color]
        (top, left), (bottom, right) = cells[0], cells[-1]
        corners = [(top, left), (top, right), (bottom, left), (bottom, right)]
        area = (bottom - top) * (right - left)
        if cells == corners and area > largest:
            largest = area
            frame = corners
    # 3. Collect the cells of the object, and find its first row and its first column.
    cells = [(r, c) for r, c in places if grid[r][c] != background and (r, c) not in frame]
    first_row = min(r for r, c in cells)
    first_column = min(c for r, c in cells)
    # 4. It has to move so that its first row is just below the first row of the frame, and its
    #    first column just right of the first column of the frame.
    rows_down = frame[0][0] + 1 - first_row
    columns_right = frame[0][1] + 1 - first_column
    # 5. Make an output of background with the corners of the frame and the moved object.
    output = [[background] * width for _ in range(height)]
    for r, c in frame:
        output[r][c] = grid[r][c]
    for r, c in cells:
        output[r + rows_down][c + columns_right] = grid[r][c]
    result = output
    return result
