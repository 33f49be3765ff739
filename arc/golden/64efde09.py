def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is the most common color.
    2. There are some bars, two cells thick, and single cells at the border of the grid, the dots.
    3. A bar has two strips. The color of the side strip makes a longer run than the color of the
       core strip. At one end of the core strip there are two cells of other colors, at the other
       end there is one. The first end is the head.
    4. In the output lines start from the side strips. They go straight away from the core strip to
       the border.
    5. All bars have the same lines: the same colors at the same numbers of cells from the head.
    6. Each dot is the end of one of these lines and shows its color.
    Procedure:
    1. Find the objects: cells that are not background and are joined by their sides. Those of one
       cell are the dots, the others are the bars.
    2. For each bar list the cells of its two strips in order.
    3. Find the longest run of one color in each strip. The strip with the longer run is the side
       strip. Turn both around if the head of the core strip is at the end.
    4. The direction leads from the core strip to the side strip.
    5. From each cell of each side strip go in the direction over background. If there is a dot at
       the end, the number of the cell belongs to a line with the color of the dot.
    6. For each bar and each such number draw the line from the side strip to the border, over
       background only.
    """
    height = len(grid)
    width = len(grid[0])
    all_cells = [cell for row in grid for cell in row]
    background = max(set(all_cells), key=all_cells.count)
    # 1. Find the objects: cells that are not background and are joined by their sides. Those of one
    #    cell are the dots, the others are the bars.
    seen = set()
    dots = []
    bars = []
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
                stack += [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]
            if len(cells) == 1:
                dots += cells
            elif cells:
                bars.append(sorted(cells))

    def longest_run(strip):
        best = (0, 0)
        for start in range(len(strip)):
            end = start
            while end < len(strip) and len({grid[r][c] for r, c in strip[start : end + 1]}) == 1:
                end += 1
            best = max(best, (end - start, -start))
        return best[0], -best[1]

    sides = []
    for cells in bars:
        # 2. For each bar list the cells of its two strips in order.
        top, left = cells[0]
        vertical = cells[-1][1] - left < cells[-1][0] - top
        if vertical:
            strips = [[cell for cell in cells if cell[1] == left + i] for i in (0, 1)]
        else:
            strips = [[cell for cell in cells if cell[0] == top + i] for i in (0, 1)]
        # 3. Find the longest run of one color in each strip. The strip with the longer run is the
        #    side strip. Turn both around if the head of the core strip is at the end.
        strips.sort(key=longest_run)
        core, side = strips
        length, start = longest_run(core)
        if len(core) - start - length > start:
            core = core[::-1]
            side = side[::-1]
        # 4. The direction leads from the core strip to the side strip.
        down = side[0][0] - core[0][0]
        right = side[0][1] - core[0][1]
        sides.append((side, down, right))

    def walk(r, c, down, right):
        path = []
        r, c = r + down, c + right
        while 0 <= r < height and 0 <= c < width:
            path.append((r, c))
            r, c = r + down, c + right
        return path

    # 5. From each cell of each side strip go in the direction over background. If there is a dot at
    #    the end, the number of the cell belongs to a line with the color of the dot.
    lines = {}
    for side, down, right in sides:
        for number, (r, c) in enumerate(side):
            path = walk(r, c, down, right)
            free = all(grid[y][x] == background for y, x in path[:-1])
            if path and free and path[-1] in dots:
                y, x = path[-1]
                lines[number] = grid[y][x]
    # 6. For each bar and each such number draw the line from the side strip to the border, over
    #    background only.
    output = [list(row) for row in grid]
    for side, down, right in sides:
        for number in lines:
            if number < len(side):
                for y, x in walk(*side[number], down, right):
                    if grid[y][x] == background:
                        output[y][x] = lines[number]
    result = output
    return result
