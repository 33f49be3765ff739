def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size, and the background is the most common color.
    2. Cells that touch, side by side or corner to corner, form a group.
    3. A group of two colors is a complete pattern, for example one center cell of one color with
       cells of the other color around it.
    4. Elsewhere all cells of one color of a pattern are there, but those of the other color are
       missing.
    5. The missing cells are drawn, so that each part becomes a whole pattern.
    Procedure:
    1. Find the background and the groups.
    2. In each group of two colors take the cells of each color as one part.
    3. Move the part to each place of the grid.
    4. It fits if each of its cells lies on its color, and each cell of the other part lies on
       background or outside the grid.
    5. Where it fits, draw the other part.
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
    output = [list(row) for row in grid]
    for group in groups:
        # 2. In each group of two colors take the cells of each color as one part.
        colors = {grid[y][x] for y, x in group}
        if len(colors) != 2:
            continue
        for color in colors:
            part = [(y, x) for y, x in group if grid[y][x] == color]
            rest = [(y, x) for y, x in group if grid[y][x] != color]
            # 3. Move the part to each place of the grid.
            for dy in range(-height, height):
                for dx in range(-width, width):
                    moved = [(y + dy, x + dx) for y, x in part]
                    # 4. It fits if each of its cells lies on its color, and each cell of the
                    #    other part lies on background or outside the grid.
                    fits = True
                    for y, x in moved:
                        inside = 0 <= y < height and 0 <= x < width
                        fits = fits and inside and grid[y][x] == color
                    for y, x in rest:
                        if 0 <= y + dy < height and 0 <= x + dx < width:
                            fits = fits and grid[y + dy][x + dx] == background
                    # 5. Where it fits, draw the other part.
                    for y, x in rest:
                        if fits and 0 <= y + dy < height and 0 <= x + dx < width:
                            output[y + dy][x + dx] = grid[y][x]
    result = output
    return result
