def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output is twice as high and twice as wide as the input.
    2. The input has some single colored cells. The background is the most common color.
    3. The output shows the input four times: two copies side by side, and the same two below.
    4. In the output, the four cells that touch a colored cell corner to corner become 8.
    5. A colored cell of the input is never changed to 8, and nothing is drawn outside the grid.
    Procedure:
    1. Find the background.
    2. Put each row twice side by side, and all these rows twice one below the other.
    3. Go through the colored cells.
    4. Look at the four cells that touch it corner to corner.
    5. If such a cell is background, set it to 8.
    """
    # 1. Find the background.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    # 2. Put each row twice side by side, and all these rows twice one below the other.
    tiled = [row + row for row in grid] + [row + row for row in grid]
    height = len(tiled)
    width = len(tiled[0])
    output = [list(row) for row in tiled]
    # 3. Go through the colored cells.
    for r in range(height):
        for c in range(width):
            if tiled[r][c] == background:
                continue
            # 4. Look at the four cells that touch it corner to corner.
            for y in (r - 1, r + 1):
                for x in (c - 1, c + 1):
                    # 5. If such a cell is background, set it to 8.
                    if 0 <= y < height and 0 <= x < width and tiled[y][x] == background:
                        output[y][x] = 8
    result = output
    return result
