def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The input has two filled rectangles on a background. One is larger than the other, and they
       do not touch side by side.
    3. The cells of the background do not form filled rectangles.
    4. The cells on the edge of a rectangle stay the same.
    5. The cells inside become 2 in the larger rectangle and 1 in the smaller one.
    Procedure:
    1. Find the groups of cells of one color that touch side by side.
    2. Find the first and the last row and column of each group. It is a filled rectangle if it has
       all cells of this box.
    3. The color of a group that is no filled rectangle is the background. The groups of other
       colors are the rectangles.
    4. Sort the rectangles by their number of cells.
    5. Set the cells inside of the first one to 1, and those inside of the second one to 2.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the groups of cells of one color that touch side by side.
    boxes = []
    background = set()
    seen = set()
    for r in range(height):
        for c in range(width):
            if (r, c) in seen:
                continue
            group = [(r, c)]
            seen.add((r, c))
            for y, x in group:
                for ny, nx in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                    inside = 0 <= ny < height and 0 <= nx < width
                    if inside and (ny, nx) not in seen and grid[ny][nx] == grid[r][c]:
                        seen.add((ny, nx))
                        group.append((ny, nx))
            # 2. Find the first and the last row and column of each group. It is a filled rectangle
            #    if it has all cells of this box.
            top, bottom = min(y for y, _ in group), max(y for y, _ in group)
            left, right = min(x for _, x in group), max(x for _, x in group)
            boxes.append((len(group), top, bottom, left, right, grid[r][c]))
            # 3. The color of a group that is no filled rectangle is the background. The groups of
            #    other colors are the rectangles.
            if (bottom - top + 1) * (right - left + 1) != len(group):
                background.add(grid[r][c])
    rectangles = [box for box in boxes if box[-1] not in background]
    # 4. Sort the rectangles by their number of cells.
    rectangles.sort()
    # 5. Set the cells inside of the first one to 1, and those inside of the second one to 2.
    output = [list(row) for row in grid]
    for color, (_, top, bottom, left, right, _) in enumerate(rectangles, 1):
        for r in range(top + 1, bottom):
            for c in range(left + 1, right):
                output[r][c] = color
    result = output
    return result
