def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The background is 0. Cells of one color that are joined by their sides form objects.
    2. The largest object is the plate: a filled rectangle with holes of 0.
    3. There are some figures of other colors. They consist of square blocks, all of the same size,
       the scale, which is at least 2.
    4. Objects without a 2x2 square are noise and mean nothing.
    5. Each hole of the plate has the shape of one figure, when each block counts as one cell. The
       figure may be turned or mirrored.
    6. The output is the plate without the rest of the input, enlarged by the scale. Its holes have
       the colors of the figures that have their shape.
    Procedure:
    1. Find the objects: cells of one color, not 0, that are joined by their sides. Leave out those
       without a 2x2 square.
    2. The plate is the object with the most cells. The others are the figures.
    3. The scale is the length of the shortest straight run of cells in the figures.
    4. Reduce each figure by the scale: take every cell at the top left of a block.
    5. To compare shapes write down the cells in all 8 turned and mirrored ways, each time counted
       from the first row and first column. The first one of these lists stands for the shape.
    6. Find the holes: cells inside the rectangle of the plate that are not of its color and are
       joined by their sides. Color each with the color of the figure of the same shape.
    7. Enlarge the plate: repeat each cell in both directions as often as the scale says.
    """
    height = len(grid)
    width = len(grid[0])

    def find_objects(places, same):
        left_over = set(places)
        objects = []
        while left_over:
            start = min(left_over)
            cells = set()
            stack = [start]
            while stack:
                r, c = stack.pop()
                if (r, c) in left_over and same(start, (r, c)):
                    left_over.remove((r, c))
                    cells.add((r, c))
                    stack += [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]
            objects.append(cells)
        return objects

    def color_of(cells):
        r, c = min(cells)
        return grid[r][c]

    def has_square(cells):
        return any({(r + 1, c), (r, c + 1), (r + 1, c + 1)} <= cells for r, c in cells)

    # 1. Find the objects: cells of one color, not 0, that are joined by their sides. Leave out
    #    those without a 2x2 square.
    places = [(r, c) for r in range(height) for c in range(width) if grid[r][c] != 0]
    objects = find_objects(places, lambda a, b: grid[a[0]][a[1]] == grid[b[0]][b[1]])
    objects = [cells for cells in objects if has_square(cells)]
    # 2. The plate is the object with the most cells. The others are the figures.
    plate = max(objects, key=len)
    figures = [cells for cells in objects if cells is not plate]
    # 3. The scale is the length of the shortest straight run of cells in the figures.
    runs = []
    for cells in figures:
        for r, c in cells:
            for down, right in ((0, 1), (1, 0)):
                if (r - down, c - right) not in cells:
                    length = 1
                    while (r + down * length, c + right * length) in cells:
                        length += 1
                    runs.append(length)
    scale = min(runs, default=1)

    # 4. Reduce each figure by the scale: take every cell at the top left of a block.
    def reduce(cells):
        top = min(r for r, c in cells)
        left = min(c for r, c in cells)
        blocks = [(r - top, c - left) for r, c in cells]
        return [(r, c) for r, c in blocks if r % scale == 0 and c % scale == 0]

    # 5. To compare shapes write down the cells in all 8 turned and mirrored ways, each time
    #    counted from the first row and first column. The first one of these lists stands for the
    #    shape.
    def shape_of(cells, size):
        ways = []
        for flip_r in (1, -1):
            for flip_c in (1, -1):
                flipped = [(r // size * flip_r, c // size * flip_c) for r, c in cells]
                for way in (flipped, [(c, r) for r, c in flipped]):
                    first_r = min(r for r, c in way)
                    first_c = min(c for r, c in way)
                    ways.append(sorted((r - first_r, c - first_c) for r, c in way))
        return min(ways)

    shapes = [(shape_of(reduce(cells), scale), color_of(cells)) for cells in figures]
    # 6. Find the holes: cells inside the rectangle of the plate that are not of its color and are
    #    joined by their sides. Color each with the color of the figure of the same shape.
    rows = range(min(r for r, c in plate), max(r for r, c in plate) + 1)
    columns = range(min(c for r, c in plate), max(c for r, c in plate) + 1)
    holes = [(r, c) for r in rows for c in columns if (r, c) not in plate]
    filled = {place: color_of(plate) for place in plate}
    for cells in find_objects(holes, lambda a, b: True):
        fitting = [color for shape, color in shapes if shape == shape_of(cells, 1)]
        for place in cells:
            filled[place] = fitting[0] if fitting else 0
    # 7. Enlarge the plate: repeat each cell in both directions as often as the scale says.
    output = []
    for r in rows:
        wide_row = [filled[(r, c)] for c in columns for copy in range(scale)]
        output += [list(wide_row) for copy in range(scale)]
    result = output
    return result
