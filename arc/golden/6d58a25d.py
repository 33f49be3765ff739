def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. On the background, the most common color, there are one large shape of one color, like a
       roof, and many single dots of another color.
    3. The cells of the shape touch each other by sides or corners. The dots are apart.
    4. The output has more cells of the color of the dots. They form lines under the shape.
    5. A line stands in each column of the shape that has a dot somewhere below the shape. It goes
       from directly below the shape down to the last row.
    Procedure:
    1. Find the background: the most common color.
    2. Find the objects: cells of one color that touch by sides or corners.
    3. The shape is the object that holds all cells of its color. If there are several such
       objects, it is the one with the most cells.
    4. In each column of the shape find its lowest cell.
    5. If there is a dot below this cell in the column, color all cells below it with the color of
       the dot.
    """
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
    shape = max(whole, key=len)
    output = [list(row) for row in grid]
    for c in sorted({column for row, column in shape}):
        # 4. In each column of the shape find its lowest cell.
        lowest = max(row for row, column in shape if column == c)
        # 5. If there is a dot below this cell in the column, color all cells below it with the
        #    color of the dot.
        dots = [grid[r][c] for r in range(lowest + 1, height) if grid[r][c] != background]
        if dots:
            for r in range(lowest + 1, height):
                output[r][c] = dots[0]
    result = output
    return result
