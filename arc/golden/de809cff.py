def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is 0.
    2. There are large areas of two colors.
    3. There are also single holes of 0 in the areas or cut into their sides. In the output each
       hole is 8.
    4. The 8 cells around each hole have become the other one of the two colors.
    5. There is noise: single colored cells that lie elsewhere or stick out of an area. In the
       output they have the color of what is around them.
    Procedure:
    1. Find the two colors: the most common ones besides 0.
    2. Find the holes: cells of 0 for which at least three of the cells above, below, left and right
       have the same color, not 0. This is the color around the hole.
    3. Go through the colored cells row by row. If at least three of the cells above, below, left
       and right have the same other color, give the cell that color. Holes do not count, and cells
       that have changed already count with their new color.
    4. For each hole color the 8 cells around it with the one of the two colors that is not the
       color around it.
    5. Color all holes with 8.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the two colors: the most common ones besides 0.
    cells = [cell for row in grid for cell in row if cell != 0]
    first, second = sorted(set(cells), key=cells.count, reverse=True)[:2]
    output = [list(row) for row in grid]

    def color_around(r, c, ignored):
        near = []
        for y, x in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)):
            if 0 <= y < height and 0 <= x < width and (y, x) not in ignored:
                near.append(output[y][x])
        common = [color for color in near if near.count(color) >= 3]
        return common[0] if common else output[r][c]

    # 2. Find the holes: cells of 0 for which at least three of the cells above, below, left and
    #    right have the same color, not 0. This is the color around the hole.
    holes = {}
    for r in range(height):
        for c in range(width):
            if grid[r][c] == 0 and color_around(r, c, []) != 0:
                holes[(r, c)] = color_around(r, c, [])
    # 3. Go through the colored cells row by row. If at least three of the cells above, below, left
    #    and right have the same other color, give the cell that color. Holes do not count, and
    #    cells that have changed already count with their new color.
    for r in range(height):
        for c in range(width):
            if grid[r][c] != 0:
                output[r][c] = color_around(r, c, holes)
    # 4. For each hole color the 8 cells around it with the one of the two colors that is not the
    #    color around it.
    for r, c in holes:
        for y in range(max(0, r - 1), min(height, r + 2)):
            for x in range(max(0, c - 1), min(width, c + 2)):
                output[y][x] = second if holes[(r, c)] == first else first
    # 5. Color all holes with 8.
    for r, c in holes:
        output[r][c] = 8
    result = output
    return result
