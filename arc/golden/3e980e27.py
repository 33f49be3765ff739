def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size, and the background is the most common color.
    2. Cells that touch, side by side or corner to corner, make a group.
    3. A group of several cells is a shape, and one of its cells is an anchor of color 2 or 3.
    4. A group of one cell is a lone anchor, also of color 2 or 3.
    5. Each lone anchor gets a copy of the shape that has an anchor of its color.
    6. The copy lies with its anchor on the lone anchor.
    7. For color 3 the copy is the same, for color 2 it is mirrored left to right.
    Procedure:
    1. Find the groups of touching cells that are not background.
    2. In each group of several cells find the anchor, and note the other cells relative to it.
    3. For each group of one cell draw the shape of its color around it.
    4. Mirror the shape left to right if the color is 2.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the groups of touching cells that are not background.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    groups = []
    seen = set()
    for r in range(height):
        for c in range(width):
            if grid[r][c] == background or (r, c) in seen:
                continue
            group = [(r, c)]
            seen.add((r, c))
            for y, x in group:
                for ny in range(max(y - 1, 0), min(y + 2, height)):
                    for nx in range(max(x - 1, 0), min(x + 2, width)):
                        if grid[ny][nx] != background and (ny, nx) not in seen:
                            seen.add((ny, nx))
                            group.append((ny, nx))
            groups.append(group)
    # 2. In each group of several cells find the anchor, and note the other cells relative to it.
    shapes = {}
    for group in groups:
        for r, c in group:
            if len(group) > 1 and grid[r][c] in (2, 3):
                shapes[grid[r][c]] = [(y - r, x - c, grid[y][x]) for y, x in group]
    output = [list(row) for row in grid]
    # 3. For each group of one cell draw the shape of its color around it.
    for group in groups:
        r, c = group[0]
        if len(group) == 1:
            for dy, dx, color in shapes.get(grid[r][c], []):
                # 4. Mirror the shape left to right if the color is 2.
                y = r + dy
                x = c - dx if grid[r][c] == 2 else c + dx
                if 0 <= y < height and 0 <= x < width:
                    output[y][x] = color
    result = output
    return result
