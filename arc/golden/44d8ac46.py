def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color. The other cells form figures.
    3. Some figures have a hole: background that one cannot leave without crossing the figure.
    4. Steps go up, down, left and right.
    5. A hole becomes 2 if it is a filled square. Other holes stay the same.
    Procedure:
    1. Find the background, and its groups of cells that touch side by side.
    2. Find the first and the last row and column of each group.
    3. The group is a square hole if it does not touch the border of the grid, if it has as many
       rows as columns, and if it fills all of them.
    4. Color the square holes with 2.
    """
    height = len(grid)
    width = len(grid[0])
    output = [list(row) for row in grid]
    # 1. Find the background, and its groups of cells that touch side by side.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    seen = set()
    for r in range(height):
        for c in range(width):
            if grid[r][c] != background or (r, c) in seen:
                continue
            group = [(r, c)]
            seen.add((r, c))
            for y, x in group:
                for ny, nx in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                    inside = 0 <= ny < height and 0 <= nx < width
                    if inside and (ny, nx) not in seen and grid[ny][nx] == background:
                        seen.add((ny, nx))
                        group.append((ny, nx))
            # 2. Find the first and the last row and column of each group.
            top = min(y for y, _ in group)
            bottom = max(y for y, _ in group)
            left = min(x for _, x in group)
            right = max(x for _, x in group)
            # 3. The group is a square hole if it does not touch the border of the grid, if it has
            #    as many rows as columns, and if it fills all of them.
            inside = top > 0 and left > 0 and bottom < height - 1 and right < width - 1
            square = bottom - top == right - left and len(group) == (bottom - top + 1) ** 2
            # 4. Color the square holes with 2.
            if inside and square:
                for y, x in group:
                    output[y][x] = 2
    result = output
    return result
