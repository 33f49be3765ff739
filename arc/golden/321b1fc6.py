def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is the most common color.
    2. The input has one colorful object, and some objects of one other color, the gray color. The
       gray color is the second most common color.
    3. All objects have the same shape. Their cells are joined by sides.
    4. In the output the colorful object is gone, and each gray object has got its colors.
    Procedure:
    1. Count the colors: the most common one is the background, the second one is gray.
    2. Find the colorful object: the cells of all other colors. Note its first row and its first
       column.
    3. Find the gray objects: gray cells that are joined by their sides.
    4. Start with an empty grid.
    5. For each gray object find its first row and its first column.
    6. Draw the colorful object there: each of its cells at the same distance from the first row and
       the first column.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Count the colors: the most common one is the background, the second one is gray.
    all_cells = [cell for row in grid for cell in row]
    background, gray = sorted(set(all_cells), key=all_cells.count, reverse=True)[:2]
    # 2. Find the colorful object: the cells of all other colors. Note its first row and its first
    #    column.
    positions = [(r, c) for r in range(height) for c in range(width)]
    colorful = [(r, c) for r, c in positions if grid[r][c] not in (background, gray)]
    first_r = min(r for r, c in colorful)
    first_c = min(c for r, c in colorful)
    # 3. Find the gray objects: gray cells that are joined by their sides.
    seen = set()
    objects = []
    for start in positions:
        cells = []
        stack = [start]
        while stack:
            r, c = stack.pop()
            if not (0 <= r < height and 0 <= c < width):
                continue
            if (r, c) in seen or grid[r][c] != gray:
                continue
            seen.add((r, c))
            cells.append((r, c))
            stack += [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]
        if cells:
            objects.append(cells)
    # 4. Start with an empty grid.
    output = [[background] * width for row in grid]
    for cells in objects:
        # 5. For each gray object find its first row and its first column.
        top = min(r for r, c in cells)
        left = min(c for r, c in cells)
        # 6. Draw the colorful object there: each of its cells at the same distance from the first
        #    row and the first column.
        for r, c in colorful:
            y = top + r - first_r
            x = left + c - first_c
            if y < height and x < width:
                output[y][x] = grid[r][c]
    result = output
    return result
