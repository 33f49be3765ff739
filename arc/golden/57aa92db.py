def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. On the background, the most common color, there are some objects. Each has two colors: a
       key color, which all objects share, and a body color.
    3. The cells of an object touch by sides or corners. The key of each object is one square block.
    4. One object is a complete figure, the others are only a key block and one block of the body
       color next to it.
    5. In the output each other object is the same figure: enlarged by the side of its key block,
       with the key at its place, and in its own body color.
    Procedure:
    1. Find the background: the most common color.
    2. Find the objects: cells that are not background and touch by sides or corners.
    3. The key color is the color that all objects have.
    4. The scale of an object is the side of its key block. Its size is its number of cells
       divided by scale times scale. The figure is the object with the largest size.
    5. Note the place of each cell of the figure, counted in blocks from its key block.
    6. For each object go through these places. Fill the block there with the body color of the
       object, but keep the key.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    all_cells = [cell for row in grid for cell in row]
    background = max(set(all_cells), key=all_cells.count)
    # 2. Find the objects: cells that are not background and touch by sides or corners.
    seen = set()
    objects = []
    for start_r in range(height):
        for start_c in range(width):
            cells = []
            stack = [(start_r, start_c)]
            while stack:
                r, c = stack.pop()
                if not (0 <= r < height and 0 <= c < width):
                    continue
                if (r, c) in seen or grid[r][c] == background:
                    continue
                seen.add((r, c))
                cells.append((r, c))
                stack += [(y, x) for y in (r - 1, r, r + 1) for x in (c - 1, c, c + 1)]
            if cells:
                objects.append(cells)
    # 3. The key color is the color that all objects have.
    shared = set(all_cells)
    for cells in objects:
        shared &= {grid[r][c] for r, c in cells}
    key = min(shared)
    # 4. The scale of an object is the side of its key block. Its size is its number of cells
    #    divided by scale times scale. The figure is the object with the largest size.
    largest = 0
    for cells in objects:
        key_cells = sorted((r, c) for r, c in cells if grid[r][c] == key)
        size = len(cells) / len(key_cells)
        if size > largest:
            largest = size
            figure = cells
            figure_top, figure_left = key_cells[0]
            figure_scale = key_cells[-1][0] - figure_top + 1
    # 5. Note the place of each cell of the figure, counted in blocks from its key block.
    places = set()
    for r, c in figure:
        places.add(((r - figure_top) // figure_scale, (c - figure_left) // figure_scale))
    # 6. For each object go through these places. Fill the block there with the body color of the
    #    object, but keep the key.
    output = [list(row) for row in grid]
    for cells in objects:
        key_cells = sorted((r, c) for r, c in cells if grid[r][c] == key)
        top, left = key_cells[0]
        scale = key_cells[-1][0] - top + 1
        body = next(grid[r][c] for r, c in cells if grid[r][c] != key)
        for y, x in places - {(0, 0)}:
            for r in range(top + y * scale, top + (y + 1) * scale):
                for c in range(left + x * scale, left + (x + 1) * scale):
                    if 0 <= r < height and 0 <= c < width:
                        output[r][c] = body
    result = output
    return result
