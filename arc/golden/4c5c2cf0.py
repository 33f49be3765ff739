def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size; the background is the most common color.
    2. The input has two more colors.
    3. All cells of one color form a small X: a center and the four cells diagonal to it.
    4. The cells of the other color form a shape beside one corner of the X: all of it is above or
       all below the center of the X, and all left or all right of it.
    5. In the output the shape is there four times, mirrored up and down, and left and right.
    6. Both mirrors go through the center of the X, so the X itself does not change.
    Procedure:
    1. Find the background, and collect the cells of each other color.
    2. Find the color whose cells are a cell and its four diagonal neighbors: the X with its center.
    3. Copy the input.
    4. For each cell of the other color, find the row and the column mirrored at the center.
    5. Color the cell and its three mirrored cells, where they are in the grid.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background, and collect the cells of each other color.
    colors = [cell for row in grid for cell in row]
    background = max(set(colors), key=colors.count)
    places = {}
    for r in range(height):
        for c in range(width):
            if grid[r][c] != background:
                places.setdefault(grid[r][c], set()).add((r, c))
    # 2. Find the color whose cells are a cell and its four diagonal neighbors: the X with its
    #    center.
    for color, cells in places.items():
        for r, c in cells:
            corners = {(r - 1, c - 1), (r - 1, c + 1), (r + 1, c - 1), (r + 1, c + 1)}
            if cells == corners | {(r, c)}:
                center_row, center_column, center_color = r, c, color
    # 3. Copy the input.
    output = [row[:] for row in grid]
    for color, cells in places.items():
        if color == center_color:
            continue
        for r, c in cells:
            # 4. For each cell of the other color, find the row and the column mirrored at the
            #    center.
            mirrored_row = 2 * center_row - r
            mirrored_column = 2 * center_column - c
            # 5. Color the cell and its three mirrored cells, where they are in the grid.
            for y in (r, mirrored_row):
                for x in (c, mirrored_column):
                    if 0 <= y < height and 0 <= x < width:
                        output[y][x] = color
    result = output
    return result
