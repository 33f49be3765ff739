def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. On the background, the most common color, there are one large shape of one color, like a
       roof, and many single dots of another color.
    3. The cells of the shape touch each other by sides or corners. Its first row has one cell in
       the middle, its last row has two, one at each end. (If the shape is turned, the grid can be
       turned.) The dots do not form a single object.
    4. The output has more cells of the color of the dots. They form lines under the shape.
    5. A line stands in each column of the shape that has a dot somewhere below the shape. It goes
       from directly below the shape down to the last row.
    Procedure:
    1. Find the background: the most common color.
    2. Find the objects: cells of one color that touch by sides or corners.
    3. The shape is the object that holds all cells of its color. If there are several such
       objects, it is the one with the most cells.
    4. Turn the grid by quarter turns to the right until the last row of the shape has two cells of
       it. Count the turns.
    5. In each column of the shape find its lowest cell.
    6. If there is a dot below this cell in the column, color all cells below it with the color of
       the dot.
    7. Turn the output on to the right, until there are four turns in all.
    """

    def turn(rows):
        return [list(column) for column in zip(*rows[::-1], strict=True)]

    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    all_cells = [cell for row in grid for cell in row]
    background = max(set(all_cells), key=all_cells.count)
    # 2. Find the objects: cells of one color that touch by sides or corners.
    seen = set()
    objects = []
    for start_r in range(height):
        for start_c in range(width):
            color = grid[start_r][start_c]
            if color == background or (start_r, start_c) in seen:
                continue
            cells = []
            stack = [(start_r, start_c)]
            while stack:
                r, c = stack.pop()
                if not (0 <= r < height and 0 <= c < width):
                    continue
                if (r, c) in seen or grid[r][c] != color:
                    continue
                seen.add((r, c))
                cells.append((r, c))
                stack += [(y, x) for y in (r - 1, r, r + 1) for x in (c - 1, c, c + 1)]
            objects.append(cells)
    # 3. The shape is the object that holds all cells of its color. If there are several such
    #    objects, it is the one with the most cells.
    whole = []
    for cells in objects:
        r, c = cells[0]
        if len(cells) == all_cells.count(grid[r][c]):
            whole.append(cells)
    shape_r, shape_c = max(whole, key=len)[0]
    shape = grid[shape_r][shape_c]
    # 4. Turn the grid by quarter turns to the right until the last row of the shape has two cells
    #    of it. Count the turns.
    turns = 0
    while turns < 4:
        shape_rows = [row for row in grid if shape in row]
        if shape_rows[-1].count(shape) == 2:
            break
        grid = turn(grid)
        turns += 1
    height = len(grid)
    width = len(grid[0])
    output = [list(row) for row in grid]
    for c in range(width):
        # 5. In each column of the shape find its lowest cell.
        rows = [r for r in range(height) if grid[r][c] == shape]
        if not rows:
            continue
        lowest = rows[-1]
        # 6. If there is a dot below this cell in the column, color all cells below it with the
        #    color of the dot.
        dots = [grid[r][c] for r in range(lowest + 1, height) if grid[r][c] != background]
        if dots:
            for r in range(lowest + 1, height):
                output[r][c] = dots[0]
    # 7. Turn the output on to the right, until there are four turns in all.
    for _ in range(4 - turns):
        output = turn(output)
    result = output
    return result
