def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The most common color is the background, and there are two other colors.
    3. One of them draws a frame, of which parts may be cut off by the border of the grid; the
       other one is a solid object inside the frame.
    4. In the output a diagonal line starts at each corner of the frame, outside of it, and runs
       away from the frame to the border of the grid.
    5. The lines have the color of the object inside. Corners at the border of the grid have no line
       there, since it would lie outside the grid.
    Procedure:
    1. Find the background.
    2. For each other color, find the rectangle around its cells. The color with the larger
       rectangle is the frame, the other one is the object.
    3. Start diagonally outside of each of the four corners of the frame's rectangle.
    4. Go on in this diagonal direction, and color the cells with the color of the object, as long
       as they are inside the grid.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [value for row in grid for value in row]
    background = max(set(cells), key=cells.count)
    # 2. For each other color, find the rectangle around its cells. The color with the larger
    # rectangle is the frame, the other one is the object.
    largest = 0
    frame = background
    for color in set(cells) - {background}:
        rows = [r for r in range(height) if color in grid[r]]
        columns = [c for c in range(width) if any(row[c] == color for row in grid)]
        area = (rows[-1] - rows[0] + 1) * (columns[-1] - columns[0] + 1)
        if area > largest:
            largest = area
            frame = color
            top, bottom = rows[0], rows[-1]
            left, right = columns[0], columns[-1]
    inner = [color for color in set(cells) if color not in (background, frame)][0]
    output = [list(row) for row in grid]
    # 3. Start diagonally outside of each of the four corners of the frame's rectangle.
    for r, dr in [(top - 1, -1), (bottom + 1, 1)]:
        for c, dc in [(left - 1, -1), (right + 1, 1)]:
            # 4. Go on in this diagonal direction, and color the cells with the color of the
            # object, as long as they are inside the grid.
            row = r
            column = c
            while 0 <= row < height and 0 <= column < width:
                output[row][column] = inner
                row += dr
                column += dc
    result = output
    return result
