def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The most common color of the border of the grid is the background. There are two other
       colors.
    2. One color draws a cup: three sides of a rectangle, one cell thick; the fourth side is open.
    3. The other color fills the cup from its bottom up to some level, in full layers.
    4. The empty part of the cup, from the level up to the edge, has some layers too.
       There are at most nine of them.
    5. The output has 3x3 cells of background, and as many cells of the filling color as there are
       empty layers. They stand on a snake line: first row from left to right, second row from
       right to left, third row from left to right.
    Procedure:
    1. Find the background: the most common color of the border of the grid.
    2. Find the smallest rectangle around all other cells. Its corner cells have the cup's color,
       the third color is the filling.
    3. Count the background cells of this rectangle.
    4. Find the open side: one of the four sides of the rectangle has cells between its corners
       that are not of the cup's color. The number of these cells is the size of a layer.
    5. Divide the count by the size of a layer.
    6. Draw so many cells of the filling color on the snake line.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color of the border of the grid.
    border = grid[0] + grid[-1]
    for row in grid:
        border += [row[0], row[-1]]
    background = max(set(border), key=border.count)
    # 2. Find the smallest rectangle around all other cells. Its corner cells have the cup's color,
    # the third color is the filling.
    rows = []
    columns = []
    for r in range(height):
        for c in range(width):
            if grid[r][c] != background:
                rows.append(r)
                columns.append(c)
    box = [row[min(columns):max(columns) + 1] for row in grid[min(rows):max(rows) + 1]]
    cup = box[0][0]
    filling = background
    # 3. Count the background cells of this rectangle.
    count = 0
    for row in box:
        for value in row:
            if value == background:
                count += 1
            elif value != cup:
                filling = value
    # 4. Find the open side: one of the four sides of the rectangle has cells between its corners
    # that are not of the cup's color. The number of these cells is the size of a layer.
    layer = 1
    for side in [box[0], box[-1], [row[0] for row in box], [row[-1] for row in box]]:
        opening = [value for value in side if value != cup]
        if opening:
            layer = len(opening)
    # 5. Divide the count by the size of a layer.
    number = count // layer
    # 6. Draw so many cells of the filling color on the snake line.
    output = [[background] * 3 for _ in range(3)]
    snake = [(0, 0), (0, 1), (0, 2), (1, 2), (1, 1), (1, 0), (2, 0), (2, 1), (2, 2)]
    for r, c in snake[:number]:
        output[r][c] = filling
    result = output
    return result
