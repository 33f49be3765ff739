def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input has two halves of the same size, side by side or one above the other.
    2. Each half has its own background, its most common color.
    3. One half has shapes, the other half has only some dots. The shapes have more cells.
    4. The cells of a shape touch, side by side or corner to corner. Some of them are dots: these
       are the cells with a color that the dots of the other half have.
    5. The dots of most shapes come again in the other half, in the same arrangement.
    6. The output is the half with only dots, with these shapes drawn over their dots.
    Procedure:
    1. Cut the input in the middle into a left and a right half, or into a top and a bottom half:
       take the cut with fewer cells that are not background of their half.
    2. The half with more cells that are not background has the shapes.
    3. Find its shapes, and start with the shape that has the most dots.
    4. Move the shape to each place of the other half: it fits if each of its dots lies on a dot of
       the same color, and each other cell on background.
    5. Draw it on the first place where it fits.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Cut the input in the middle into a left and a right half, or into a top and a bottom half:
    #    take the cut with fewer cells that are not background of their half.
    cuts = []
    if width % 2 == 0:
        cuts.append([[row[: width // 2] for row in grid], [row[width // 2 :] for row in grid]])
    if height % 2 == 0:
        cuts.append([grid[: height // 2], grid[height // 2 :]])
    halves = []
    backgrounds = []
    counts = [height * width]
    for cut in cuts:
        cells = [[cell for row in half for cell in row] for half in cut]
        common = [max(half, key=half.count) for half in cells]
        others = [len(half) - half.count(color) for half, color in zip(cells, common)]
        if sum(others) < sum(counts):
            halves, backgrounds, counts = cut, common, others
    # 2. The half with more cells that are not background has the shapes.
    which = counts.index(max(counts))
    source = halves[which]
    output = [list(row) for row in halves[1 - which]]
    height = len(source)
    width = len(source[0])
    # 3. Find its shapes, and start with the shape that has the most dots.
    dot_colors = {cell for row in output for cell in row} - {backgrounds[1 - which]}
    shapes = []
    seen = set()
    for r in range(height):
        for c in range(width):
            if source[r][c] == backgrounds[which] or (r, c) in seen:
                continue
            shape = [(r, c)]
            seen.add((r, c))
            for y, x in shape:
                for ny in range(max(y - 1, 0), min(y + 2, height)):
                    for nx in range(max(x - 1, 0), min(x + 2, width)):
                        if source[ny][nx] != backgrounds[which] and (ny, nx) not in seen:
                            seen.add((ny, nx))
                            shape.append((ny, nx))
            dots = [(y, x) for y, x in shape if source[y][x] in dot_colors]
            shapes.append((len(dots), shape))
    shapes.sort(reverse=True)
    for count, shape in shapes:
        # 4. Move the shape to each place of the other half: it fits if each of its dots lies on a
        #    dot of the same color, and each other cell on background.
        places = []
        for dr in range(-height, height):
            for dc in range(-width, width):
                fits = count > 0
                for r, c in shape:
                    y, x = r + dr, c + dc
                    is_dot = source[r][c] in dot_colors
                    wanted = source[r][c] if is_dot else backgrounds[1 - which]
                    fits = fits and 0 <= y < height and 0 <= x < width and output[y][x] == wanted
                if fits:
                    places.append((dr, dc))
        # 5. Draw it on the first place where it fits.
        for dr, dc in places[:1]:
            for r, c in shape:
                output[r + dr][c + dc] = source[r][c]
    result = output
    return result
