def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color of the border cells. On it filled rectangles of
       other colors stand on the last row.
    3. In the output each rectangle has the same columns and the same size, but it is higher up.
    4. It has moved up by its own height. (If the whole picture is turned, it can first be turned
       back.)
    Procedure:
    1. Find the background: the most common color of the first and last row and column.
    2. Turn the grid by quarter turns to the right until each column that has a colored cell has one
       in the last row. Count the turns.
    3. Find the objects: cells of one color that are joined by their sides.
    4. Start with an empty grid of the background.
    5. Find the height of each object: its last row minus its first row plus one.
    6. Draw each of its cells that many rows higher.
    7. Turn the output on to the right, until there are four turns in all.
    """

    def turn(rows):
        return [list(column) for column in zip(*rows[::-1], strict=True)]

    # 1. Find the background: the most common color of the first and last row and column.
    border = grid[0] + grid[-1] + [row[0] for row in grid] + [row[-1] for row in grid]
    background = max(set(border), key=border.count)
    # 2. Turn the grid by quarter turns to the right until each column that has a colored cell has
    #    one in the last row. Count the turns.
    turns = 0
    while turns < 4:
        columns = [list(column) for column in zip(*grid, strict=True)]
        colored = [column for column in columns if set(column) != {background}]
        if all(column[-1] != background for column in colored):
            break
        grid = turn(grid)
        turns += 1
    height = len(grid)
    width = len(grid[0])
    # 3. Find the objects: cells of one color that are joined by their sides.
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
                stack += [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]
            objects.append((color, cells))
    # 4. Start with an empty grid of the background.
    output = [[background] * width for row in grid]
    for color, cells in objects:
        # 5. Find the height of each object: its last row minus its first row plus one.
        rows = [r for r, c in cells]
        object_height = max(rows) - min(rows) + 1
        # 6. Draw each of its cells that many rows higher.
        for r, c in cells:
            if r - object_height >= 0:
                output[r - object_height][c] = color
    # 7. Turn the output on to the right, until there are four turns in all.
    for _ in range(4 - turns):
        output = turn(output)
    result = output
    return result
