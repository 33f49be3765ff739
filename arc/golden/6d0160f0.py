def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. Full rows and columns of one color, one cell thick, cut the grid into rooms of equal size.
       There are as many rows of rooms as rows of cells in a room, and as many columns of rooms as
       columns of cells in a room.
    3. Outside the lines, most cells have the background color, the others have several colors. If
       a cell inside a room has the color of the lines, it counts as background.
    4. One cell in the whole grid has the color 4. Its place in its room names a room: if it is,
       for example, in the second row and the third column of its room, then it means the second
       room from the top and the third room from the left.
    5. In the output the named room shows a copy of the room with the 4. All other rooms are
       empty, and the lines are kept.
    Procedure:
    1. Find the full rows and columns, and the height and the width of a room.
    2. Find the most common color of the cells outside the lines, the background.
    3. Find the 4, the upper left cell of its room, and its place in the room.
    4. Start with a grid that has the lines and otherwise only background.
    5. Copy the room with the 4 into the room named by the place, but for the lines' color.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the full rows and columns, and the height and the width of a room.
    line_rows = [r for r in range(height) if len(set(grid[r])) == 1]
    line_columns = [c for c in range(width) if len(set(row[c] for row in grid)) == 1]
    room_height = line_rows[0]
    room_width = line_columns[0]
    line_color = grid[line_rows[0]][0]
    # 2. Find the most common color of the cells outside the lines, the background.
    cells = []
    for r in range(height):
        for c in range(width):
            if r not in line_rows and c not in line_columns:
                cells.append((r, c))
    colors = [grid[r][c] for r, c in cells]
    background = max(set(colors), key=colors.count)
    # 3. Find the 4, the upper left cell of its room, and its place in the room.
    row, column = [(r, c) for r, c in cells if grid[r][c] == 4][0]
    place_row = row % (room_height + 1)
    place_column = column % (room_width + 1)
    top = row - place_row
    left = column - place_column
    # 4. Start with a grid that has the lines and otherwise only background.
    output = [list(line) for line in grid]
    for r, c in cells:
        output[r][c] = background
    # 5. Copy the room with the 4 into the room named by the place, but for the lines' color.
    new_top = place_row * (room_height + 1)
    new_left = place_column * (room_width + 1)
    for r in range(room_height):
        for c in range(room_width):
            color = grid[top + r][left + c]
            if color != line_color:
                output[new_top + r][new_left + c] = color
    result = output
    return result
