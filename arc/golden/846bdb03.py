def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output is smaller than the input; the background is the most common color.
    2. Just one color has exactly four cells that are the corners of a rectangle, the frame.
    3. Two opposite sides of the frame, either left and right or top and bottom, are lines between
       the corners, in two different colors.
    4. Outside the frame there is one object of the same two colors, as large as the frame's inside.
    5. In the object the cells of one color are mostly on one side, those of the other color mostly
       on the opposite side.
    6. The output is the frame with the object inside, so that each color is on the side of the line
       of that color; for this the object is mirrored if necessary.
    Procedure:
    1. Find the background: the most common color.
    2. Find the corners: the color that has exactly four cells, which are the corners of the
       smallest rectangle around them.
    3. If the lines are at the top and the bottom, swap rows and columns of the grid and the
       corners.
    4. Cut out the frame, and take the colors of the left and the right line.
    5. Cut out the object: the smallest rectangle around all cells outside the frame that are not
       background.
    6. Find the average column of the object's cells of the left color, and of those of the right.
    7. If the average of the left color is further to the right, reverse all rows of the object.
    8. Put the object inside the frame, and swap rows and columns back if they were swapped.
    """
    # 1. Find the background: the most common color.
    flat = [cell for row in grid for cell in row]
    background = max(set(flat), key=flat.count)
    # 2. Find the corners: the color that has exactly four cells, which are the corners of the
    #    smallest rectangle around them.
    for color in set(flat):
        cells = []
        for r in range(len(grid)):
            for c in range(len(grid[0])):
                if grid[r][c] == color:
                    cells.append((r, c))
        (top, left), (bottom, right) = cells[0], cells[-1]
        if cells == [(top, left), (top, right), (bottom, left), (bottom, right)]:
            corners = (top, left, bottom, right)
    top, left, bottom, right = corners
    # 3. If the lines are at the top and the bottom, swap rows and columns of the grid and the
    #    corners.
    swapped = grid[top][left + 1] != background
    if swapped:
        grid = [list(column) for column in zip(*grid)]
        top, left, bottom, right = left, top, right, bottom
    # 4. Cut out the frame, and take the colors of the left and the right line.
    frame = [row[left:right + 1] for row in grid[top:bottom + 1]]
    left_color, right_color = frame[1][0], frame[1][-1]
    # 5. Cut out the object: the smallest rectangle around all cells outside the frame that are not
    #    background.
    cells = []
    for r in range(len(grid)):
        for c in range(len(grid[0])):
            in_frame = top <= r <= bottom and left <= c <= right
            if grid[r][c] != background and not in_frame:
                cells.append((r, c))
    first_row, last_row = cells[0][0], cells[-1][0]
    first_column, last_column = min(c for r, c in cells), max(c for r, c in cells)
    part = [row[first_column:last_column + 1] for row in grid[first_row:last_row + 1]]
    # 6. Find the average column of the object's cells of the left color, and of those of the right.
    def average_column(color):
        columns = [c for row in part for c in range(len(row)) if row[c] == color]
        return sum(columns) / len(columns)

    # 7. If the average of the left color is further to the right, reverse all rows of the object.
    if average_column(left_color) > average_column(right_color):
        part = [row[::-1] for row in part]
    # 8. Put the object inside the frame, and swap rows and columns back if they were swapped.
    output = [row[:] for row in frame]
    for r in range(len(part)):
        output[r + 1][1:-1] = part[r]
    if swapped:
        output = [list(column) for column in zip(*output)]
    result = output
    return result
