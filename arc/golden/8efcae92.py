def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The background is the most common color on the border of the grid.
    2. The input has several rectangles that do not touch side by side.
    3. Each rectangle has one main color and some dots of one other color.
    4. The output is a copy of one rectangle: the one with the most dots.
    Procedure:
    1. Find the background.
    2. Find the groups of cells that are not background and touch side by side: the rectangles.
    3. Count the dots of each rectangle: the cells that do not have its most common color.
    4. Take the rectangle with the most dots and cut it out.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    border = grid[0] + grid[-1] + [row[0] for row in grid] + [row[-1] for row in grid]
    background = max(border, key=border.count)
    # 2. Find the groups of cells that are not background and touch side by side: the rectangles.
    best = []
    most = -1
    seen = set()
    for r in range(height):
        for c in range(width):
            if grid[r][c] == background or (r, c) in seen:
                continue
            group = [(r, c)]
            seen.add((r, c))
            for y, x in group:
                for ny, nx in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                    inside = 0 <= ny < height and 0 <= nx < width
                    if inside and (ny, nx) not in seen and grid[ny][nx] != background:
                        seen.add((ny, nx))
                        group.append((ny, nx))
            # 3. Count the dots of each rectangle: the cells that do not have its most common
            #    color.
            colors = [grid[y][x] for y, x in group]
            dots = len(colors) - max(colors.count(color) for color in set(colors))
            if dots > most:
                most = dots
                best = group
    # 4. Take the rectangle with the most dots and cut it out.
    top, left = min(best)
    bottom, right = max(best)
    result = [row[left : right + 1] for row in grid[top : bottom + 1]]
    return result
