def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. On the background, the most common color, there are filled rectangles that do not touch. Each
       has one cell of another color, the mark, on one of its sides, not at a corner.
    3. Each rectangle sends out a beam from the mark, straight away from this side to the border of
       the grid.
    4. The middle of the beam is a line of the color of the mark. On both of its sides there is a
       band of the color of the rectangle.
    5. The width of each band is the length of the shorter side of the rectangle minus one.
    Procedure:
    1. Find the background: the most common color.
    2. Find the objects: cells of one color that are joined by their sides.
    3. Find the smallest box around the object. The mark is the one cell on the border of the box
       that is not part of the object.
    4. The direction of the beam is up if the mark is in the first row, down for the last row, left
       for the first column, right for the last column.
    5. The width of a band is the smaller one of height and width minus one.
    6. From the mark go in this direction until the border. Color each cell with the color of the
       mark, and on both sides as many cells with that of the object as the band is wide.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    all_cells = [cell for row in grid for cell in row]
    background = max(set(all_cells), key=all_cells.count)
    # 2. Find the objects: cells of one color that are joined by their sides.
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
    output = [list(row) for row in grid]
    for color, cells in objects:
        # 3. Find the smallest box around the object. The mark is the one cell on the border of
        #    the box that is not part of the object.
        top = min(r for r, c in cells)
        bottom = max(r for r, c in cells)
        left = min(c for r, c in cells)
        right = max(c for r, c in cells)
        box = [(r, c) for r in range(top, bottom + 1) for c in range(left, right + 1)]
        border = [(r, c) for r, c in box if r in (top, bottom) or c in (left, right)]
        marks = [(r, c) for r, c in border if (r, c) not in cells]
        if len(marks) != 1:
            continue
        r, c = marks[0]
        # 4. The direction of the beam is up if the mark is in the first row, down for the last
        #    row, left for the first column, right for the last column.
        down = -1 if r == top else int(r == bottom)
        across = -1 if c == left else int(c == right)
        # 5. The width of a band is the smaller one of height and width minus one.
        band = min(bottom - top, right - left)
        # 6. From the mark go in this direction until the border. Color each cell with the color
        #    of the mark, and on both sides as many cells with that of the object as the band is
        #    wide.
        mark_color = grid[r][c]
        while 0 <= r < height and 0 <= c < width:
            for side in range(-band, band + 1):
                y = r + side * abs(across)
                x = c + side * abs(down)
                if 0 <= y < height and 0 <= x < width:
                    output[y][x] = mark_color if side == 0 else color
            r += down
            c += across
    result = output
    return result
