def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is the most common color.
    2. There are some objects. Their cells touch by sides or corners.
    3. All objects have the same core, in one color, but in different scales: in an object of scale
       2 each cell is a 2x2 block, and so on.
    4. To the core belong some cells of other colors. There are two kinds of objects, which differ
       in these cells.
    5. In the output each object has its place, core and scale, but has become of the other kind.
    Procedure:
    1. Find the background: the most common color.
    2. Find the objects: cells that are not background and touch by sides or corners.
    3. The core color is the color that all objects have. If there are several, it is the most
       common one.
    4. The smallest core has scale 1. The scale of another object times itself is the number of its
       core cells divided by that of the smallest core.
    5. Note the kind of each object: for each cell its place, counted from the first row and column
       of the core and divided by the scale, and its color.
    6. Remove the objects. Draw each object again with the cells of the other kind, as blocks of its
       scale, counted from the first row and column of its core.
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
    # 3. The core color is the color that all objects have. If there are several, it is the most
    #    common one.
    shared = set(all_cells)
    for cells in objects:
        shared &= {grid[r][c] for r, c in cells}
    core_color = max(shared, key=all_cells.count)
    # 4. The smallest core has scale 1. The scale of another object times itself is the number of
    #    its core cells divided by that of the smallest core.
    cores = [[(r, c) for r, c in cells if grid[r][c] == core_color] for cells in objects]
    smallest = min(len(core) for core in cores)
    kinds = []
    frames = []
    for cells, core in zip(objects, cores, strict=True):
        scale = 1
        while scale * scale * smallest < len(core):
            scale += 1
        # 5. Note the kind of each object: for each cell its place, counted from the first row and
        #    column of the core and divided by the scale, and its color.
        top = min(r for r, c in core)
        left = min(c for r, c in core)
        kind = {((r - top) // scale, (c - left) // scale, grid[r][c]) for r, c in cells}
        kinds.append(kind)
        frames.append((top, left, scale))
    # 6. Remove the objects. Draw each object again with the cells of the other kind, as blocks of
    #    its scale, counted from the first row and column of its core.
    output = [[background] * width for row in grid]
    for kind, (top, left, scale) in zip(kinds, frames, strict=True):
        others = [other for other in kinds if other != kind]
        for y, x, color in others[0] if others else kind:
            for r in range(top + y * scale, top + (y + 1) * scale):
                for c in range(left + x * scale, left + (x + 1) * scale):
                    if 0 <= r < height and 0 <= c < width:
                        output[r][c] = color
    result = output
    return result
