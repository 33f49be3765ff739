def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color.
    3. The other cells form groups of cells that touch, side by side or corner to corner.
    4. The smallest group is a small pattern. It disappears.
    5. The other groups are rectangles of one color, some of them with single dots in them.
    6. All dots have one color, and the center of the pattern has this color, too.
    7. The pattern lies in the 3x3 cells around its center, but it may have arms: straight up, down,
       left or right it may go on to a distance of 2 cells from the center.
    8. Each dot becomes a copy of the pattern, and each arm gets longer up to the edge of the
       rectangle.
    9. Nothing is drawn outside a rectangle, and the copies lie over the arms.
    Procedure:
    1. Find the background and the groups.
    2. Take the smallest group as the pattern, and erase it.
    3. Find the dots: cells that do not have the most common color of their rectangle.
    4. Find the center of the pattern: a cell with the color of the dots, with all other cells of
       the pattern around it or at the end of an arm.
    5. For each direction with an arm, draw a line in its color from each dot to the edge of the
       rectangle.
    6. Draw the pattern over each dot, only inside the rectangle.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background and the groups.
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
    # 2. Take the smallest group as the pattern, and erase it.
    pattern = min(groups, key=len)
    groups.remove(pattern)
    output = [list(row) for row in grid]
    for r, c in pattern:
        output[r][c] = background
    # 3. Find the dots: cells that do not have the most common color of their rectangle.
    dots = []
    for group in groups:
        colors = [grid[r][c] for r, c in group]
        main = max(colors, key=colors.count)
        dots += [(r, c, group) for r, c in group if grid[r][c] != main]
    # 4. Find the center of the pattern: a cell with the color of the dots, with all other cells of
    #    the pattern around it or at the end of an arm.
    dot_colors = {grid[r][c] for r, c, _ in dots}
    center = pattern[0]
    for r, c in pattern:
        distances = [sorted((abs(y - r), abs(x - c))) for y, x in pattern]
        if grid[r][c] in dot_colors and all(d[1] <= 1 or d == [0, 2] for d in distances):
            center = (r, c)
    # 5. For each direction with an arm, draw a line in its color from each dot to the edge of the
    #    rectangle.
    for y, x, group in dots:
        for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            r, c = center[0] + 2 * dy, center[1] + 2 * dx
            ny, nx = y + dy, x + dx
            while (r, c) in pattern and (ny, nx) in group:
                output[ny][nx] = grid[r][c]
                ny, nx = ny + dy, nx + dx
    # 6. Draw the pattern over each dot, only inside the rectangle.
    for y, x, group in dots:
        for r, c in pattern:
            ny, nx = y + r - center[0], x + c - center[1]
            if (ny, nx) in group:
                output[ny][nx] = grid[r][c]
    result = output
    return result
