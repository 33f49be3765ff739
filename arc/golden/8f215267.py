def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is the most common color.
    2. There are some large rectangles, of which only the outline is drawn, each in another color.
       There is nothing inside.
    3. There are also many small objects of several colors. Their cells touch by sides or corners.
    4. In the output the small objects are gone and the outlines stay.
    5. Some cells inside of the outlines have got the color of the outline. There are as many of
       them as there were small objects of this color.
    6. They are in the middle row of the rectangle. The rightmost one is two columns to the left of
       the right side, and each next one is two columns farther to the left.
    Procedure:
    1. Find the background: the most common color.
    2. Find the objects: cells of one color that touch by sides or corners.
    3. Sort the objects: outlines are those at least 5 cells high and wide whose cells are exactly
       the border of a rectangle. The others are small.
    4. Start with an empty grid and draw the outlines.
    5. For each outline count the small objects of its color.
    6. Put this number of cells into the middle row: start two columns left of the right side and
       go two columns to the left each time.
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
            cells = set()
            stack = [(start_r, start_c)]
            while stack:
                r, c = stack.pop()
                if not (0 <= r < height and 0 <= c < width):
                    continue
                if (r, c) in seen or grid[r][c] != color:
                    continue
                seen.add((r, c))
                cells.add((r, c))
                stack += [(y, x) for y in (r - 1, r, r + 1) for x in (c - 1, c, c + 1)]
            objects.append((color, cells))
    # 3. Sort the objects: outlines are those at least 5 cells high and wide whose cells are exactly
    #    the border of a rectangle. The others are small.
    outlines = []
    small = []
    for color, cells in objects:
        top = min(r for r, c in cells)
        bottom = max(r for r, c in cells)
        left = min(c for r, c in cells)
        right = max(c for r, c in cells)
        border = {(r, c) for r in range(top, bottom + 1) for c in (left, right)}
        border |= {(r, c) for r in (top, bottom) for c in range(left, right + 1)}
        if cells == border and bottom - top >= 4 and right - left >= 4:
            outlines.append((color, cells, (top + bottom) // 2, right))
        else:
            small.append(color)
    # 4. Start with an empty grid and draw the outlines.
    output = [[background] * width for row in grid]
    for color, cells, middle, right in outlines:
        for r, c in cells:
            output[r][c] = color
        # 5. For each outline count the small objects of its color.
        count = small.count(color)
        # 6. Put this number of cells into the middle row: start two columns left of the right
        #    side and go two columns to the left each time.
        for number in range(1, count + 1):
            output[middle][right - 2 * number] = color
    result = output
    return result
