def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color.
    3. The input has one rectangle of one color, and single dots of another color.
    4. The rectangle is the largest group of cells of one color that is not background.
    5. A dot in a row of the rectangle draws a line of its color to the left or right side of it.
    6. A dot in a column of the rectangle draws a line to the top or bottom side of it.
    7. The other dots stay as they are.
    Procedure:
    1. Find the background and the groups of touching cells of one other color.
    2. Take the largest group as the rectangle, and find its first and last row and column.
    3. Go through the dots: all other cells that are not background.
    4. If a dot is in a row of the rectangle, color all cells between it and the rectangle.
    5. If a dot is in a column of the rectangle, do the same up or down.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background and the groups of touching cells of one other color.
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
                for ny, nx in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                    inside = 0 <= ny < height and 0 <= nx < width
                    if inside and (ny, nx) not in seen and grid[ny][nx] == grid[r][c]:
                        seen.add((ny, nx))
                        group.append((ny, nx))
            groups.append(group)
    # 2. Take the largest group as the rectangle, and find its first and last row and column.
    rectangle = max(groups, key=len)
    top, left = rectangle[0]
    bottom = max(r for r, _ in rectangle)
    right = max(c for _, c in rectangle)
    output = [list(row) for row in grid]
    # 3. Go through the dots: all other cells that are not background.
    for r, c in seen - set(rectangle):
        # 4. If a dot is in a row of the rectangle, color all cells between it and the rectangle.
        if top <= r <= bottom:
            for x in list(range(c, left)) + list(range(right + 1, c)):
                output[r][x] = grid[r][c]
        # 5. If a dot is in a column of the rectangle, do the same up or down.
        if left <= c <= right:
            for y in list(range(r, top)) + list(range(bottom + 1, r)):
                output[y][c] = grid[r][c]
    result = output
    return result
