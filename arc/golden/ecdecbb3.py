def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color.
    3. The input has lines of one color from one side of the grid to the other, all in the same
       direction, and single dots of another color.
    4. Each dot draws lines of its color straight to the nearest line on each side of it.
    5. The cell of the line that is hit becomes the color of the dot.
    6. Around this cell there is a ring of the color of the lines: the eight cells that touch it.
    Procedure:
    1. Find the background, and the color of the lines: it fills a whole row or a whole column.
    2. Go from each dot in the four directions, up to a cell of a line or the border of the grid.
    3. If a line is hit, color all cells up to it.
    4. Then draw the ring around each cell that was hit.
    5. Draw the cells that were hit in the color of the dot.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background, and the color of the lines: it fills a whole row or a whole column.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    line_color = background
    for line in grid + [list(column) for column in zip(*grid)]:
        if len(set(line)) == 1 and line[0] != background:
            line_color = line[0]
    output = [list(row) for row in grid]
    hits = []
    for r in range(height):
        for c in range(width):
            if grid[r][c] in (background, line_color):
                continue
            # 2. Go from each dot in the four directions, up to a cell of a line or the border of
            #    the grid.
            for dr, dc in ((-1, 0), (1, 0), (0, -1), (0, 1)):
                y, x = r, c
                path = []
                while 0 <= y < height and 0 <= x < width and grid[y][x] != line_color:
                    path.append((y, x))
                    y, x = y + dr, x + dc
                # 3. If a line is hit, color all cells up to it.
                if 0 <= y < height and 0 <= x < width:
                    hits.append((y, x, grid[r][c]))
                    for py, px in path:
                        output[py][px] = grid[r][c]
    # 4. Then draw the ring around each cell that was hit.
    for r, c, _ in hits:
        for y in range(max(r - 1, 0), min(r + 2, height)):
            for x in range(max(c - 1, 0), min(c + 2, width)):
                output[y][x] = line_color
    # 5. Draw the cells that were hit in the color of the dot.
    for r, c, color in hits:
        output[r][c] = color
    result = output
    return result
