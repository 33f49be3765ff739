def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size, and the background is the most common color.
    2. One shape is complete: it is the largest group of touching cells of one color.
    3. Touching here means side by side or corner to corner.
    4. Around the box of this shape are eight places for copies, one cell away from it.
    5. Some of the places hold a part of the shape in one other color.
    6. In such a direction the shape is copied in this color, again and again up to the border.
    7. A copy that does not fit on the grid is cut off.
    Procedure:
    1. Find the groups of touching cells of one color besides the background, take the largest.
    2. Find the box around it.
    3. Look at the place of the same size in each of the eight directions, one cell away.
    4. If the place has a color, draw the shape there in this color, and step on in this direction
       until a copy is outside the grid.
    """
    height = len(grid)
    width = len(grid[0])
    directions = [(r, c) for r in (-1, 0, 1) for c in (-1, 0, 1) if (r, c) != (0, 0)]
    # 1. Find the groups of touching cells of one color besides the background, take the largest.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    shape = []
    seen = set()
    for r in range(height):
        for c in range(width):
            if grid[r][c] == background or (r, c) in seen:
                continue
            group = [(r, c)]
            seen.add((r, c))
            for y, x in group:
                for dy, dx in directions:
                    ny, nx = y + dy, x + dx
                    inside = 0 <= ny < height and 0 <= nx < width
                    if inside and (ny, nx) not in seen and grid[ny][nx] == grid[r][c]:
                        seen.add((ny, nx))
                        group.append((ny, nx))
            if len(group) > len(shape):
                shape = group
    # 2. Find the box around it.
    rows = [r for r, _ in shape]
    columns = [c for _, c in shape]
    step_down = max(rows) - min(rows) + 2
    step_right = max(columns) - min(columns) + 2
    output = [list(row) for row in grid]
    # 3. Look at the place of the same size in each of the eight directions, one cell away.
    for dy, dx in directions:
        color = background
        for r in range(min(rows), max(rows) + 1):
            for c in range(min(columns), max(columns) + 1):
                y, x = r + dy * step_down, c + dx * step_right
                if 0 <= y < height and 0 <= x < width and grid[y][x] != background:
                    color = grid[y][x]
        # 4. If the place has a color, draw the shape there in this color, and step on in this
        #    direction until a copy is outside the grid.
        if color != background:
            for step in range(1, max(height, width)):
                for r, c in shape:
                    y, x = r + dy * step * step_down, c + dx * step * step_right
                    if 0 <= y < height and 0 <= x < width:
                        output[y][x] = color
    result = output
    return result
