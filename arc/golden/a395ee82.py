def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is the most common color.
    2. There is one larger object, the stamp, all of one color.
    3. Apart from it there is a map: single cells, two steps apart in rows and columns. One of them,
       the center, has the color of the stamp. The others have a second color.
    4. The output shows the stamp at several places, without gaps between the places: one step on
       the map is one height or width of the stamp.
    5. The place of the stamp in the input belongs to the center. There the stamp has the second
       color in the output.
    6. For each other cell of the map there is a copy of the stamp in the color of the stamp.
    7. The map itself is gone.
    Procedure:
    1. Find the objects: cells of one color that touch by sides or corners. The largest one is the
       stamp, the others are the cells of the map.
    2. The center is the cell of the map that has the color of the stamp.
    3. For each cell of the map count the steps to it from the center, down and to the right: the
       rows and the columns between them divided by two.
    4. Multiply the steps down by the height of the stamp and the steps right by its width.
    5. Draw the stamp moved by this: for the center in the second color, else in its own color.
    """
    height = len(grid)
    width = len(grid[0])
    all_cells = [cell for row in grid for cell in row]
    background = max(set(all_cells), key=all_cells.count)
    # 1. Find the objects: cells of one color that touch by sides or corners. The largest one is the
    #    stamp, the others are the cells of the map.
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
    stamp = max(objects, key=len)
    stamp_color = grid[stamp[0][0]][stamp[0][1]]
    dots = [cells[0] for cells in objects if cells != stamp]
    # 2. The center is the cell of the map that has the color of the stamp.
    center_r, center_c = next((r, c) for r, c in dots if grid[r][c] == stamp_color)
    rows = [r for r, c in stamp]
    columns = [c for r, c in stamp]
    stamp_height = max(rows) - min(rows) + 1
    stamp_width = max(columns) - min(columns) + 1
    second = [grid[r][c] for r, c in dots if grid[r][c] != stamp_color]
    output = [[background] * width for row in grid]
    for dot_r, dot_c in dots:
        # 3. For each cell of the map count the steps to it from the center, down and to the right:
        #    the rows and the columns between them divided by two.
        steps_down = (dot_r - center_r) // 2
        steps_right = (dot_c - center_c) // 2
        # 4. Multiply the steps down by the height of the stamp and the steps right by its width.
        down = steps_down * stamp_height
        right = steps_right * stamp_width
        # 5. Draw the stamp moved by this: for the center in the second color, else in its own
        #    color.
        is_center = (dot_r, dot_c) == (center_r, center_c)
        for r, c in stamp:
            if 0 <= r + down < height and 0 <= c + right < width:
                output[r + down][c + right] = second[0] if is_center and second else stamp_color
    result = output
    return result
