def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The background is the most common color. The output is smaller than the input.
    2. The input has one large rectangle of one color with holes in it: the plate. Through the holes
       the background is visible.
    3. Outside there are many small objects of other colors, each of one color.
    4. The output is the plate, cut out of the grid. Its holes are filled with colors.
    5. Each hole has the shape of some small objects, which may be turned or mirrored.
    6. The hole gets the color that most small objects of this shape have.
    Procedure:
    1. Find the objects: cells of one color that are joined by their sides, the background too.
    2. The plate is the largest object that is not background. Cut out its rectangle.
    3. To compare shapes write down the cells of an object in all 8 turned and mirrored ways, each
       time counted from its first row and first column. The first one of these lists, in order,
       stands for the shape.
    4. For each small object outside of the plate note its shape and its color.
    5. For each hole of the plate collect the colors of the objects of its shape, and fill it with
       the most common one of them.
    """
    height = len(grid)
    width = len(grid[0])
    all_cells = [cell for row in grid for cell in row]
    background = max(set(all_cells), key=all_cells.count)
    # 1. Find the objects: cells of one color that are joined by their sides, the background too.
    seen = set()
    objects = []
    for start_r in range(height):
        for start_c in range(width):
            color = grid[start_r][start_c]
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
            if cells:
                objects.append((color, cells))
    # 2. The plate is the largest object that is not background. Cut out its rectangle.
    plate = max([cells for color, cells in objects if color != background], key=len)
    top = min(r for r, c in plate)
    bottom = max(r for r, c in plate)
    left = min(c for r, c in plate)
    right = max(c for r, c in plate)
    output = [row[left : right + 1] for row in grid[top : bottom + 1]]

    # 3. To compare shapes write down the cells of an object in all 8 turned and mirrored ways, each
    #    time counted from its first row and first column. The first one of these lists, in order,
    #    stands for the shape.
    def shape_of(cells):
        ways = []
        for flip_r in (1, -1):
            for flip_c in (1, -1):
                flipped = [(r * flip_r, c * flip_c) for r, c in cells]
                for way in (flipped, [(c, r) for r, c in flipped]):
                    first_r = min(r for r, c in way)
                    first_c = min(c for r, c in way)
                    ways.append(sorted((r - first_r, c - first_c) for r, c in way))
        return min(ways)

    def in_plate(cells):
        return all(top <= r <= bottom and left <= c <= right for r, c in cells)

    # 4. For each small object outside of the plate note its shape and its color.
    outside = [pair for pair in objects if pair[0] != background and not in_plate(pair[1])]
    shapes = [(shape_of(cells), color) for color, cells in outside]
    # 5. For each hole of the plate collect the colors of the objects of its shape, and fill it with
    #    the most common one of them.
    for color, cells in objects:
        if color == background and in_plate(cells):
            hole = shape_of(cells)
            fitting = [color for shape, color in shapes if shape == hole]
            for r, c in cells:
                if fitting:
                    output[r - top][c - left] = max(set(fitting), key=fitting.count)
    result = output
    return result
