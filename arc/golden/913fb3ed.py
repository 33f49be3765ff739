def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color.
    3. The input has single cells of the colors 2, 3 and 8. They stay the same.
    4. In the output each of them has a ring around it: the eight cells that touch it.
       Rings do not overlap.
    5. The ring is 1 around a 2, it is 6 around a 3, and it is 4 around an 8.
    Procedure:
    1. Find the background.
    2. Go through the cells that have one of the colors 2, 3 and 8.
    3. Look at each cell that touches it, side by side or corner to corner.
    4. If this cell is background, give it the color of the ring.
    """
    rings = {2: 1, 3: 6, 8: 4}
    # 1. Find the background.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    output = [list(row) for row in grid]
    # 2. Go through the cells that have one of the colors 2, 3 and 8.
    for r, row in enumerate(grid):
        for c, color in enumerate(row):
            if color == background or color not in rings:
                continue
            # 3. Look at each cell that touches it, side by side or corner to corner.
            for y in range(max(r - 1, 0), min(r + 2, len(grid))):
                for x in range(max(c - 1, 0), min(c + 2, len(row))):
                    # 4. If this cell is background, give it the color of the ring.
                    if grid[y][x] == background:
                        output[y][x] = rings[color]
    result = output
    return result
