def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is 0.
    2. There are large areas of two colors.
    3. There is noise: single colored cells that lie elsewhere. In the output they have the color of
       what is around them.
    4. There are also single holes of 0 in the areas or cut into their sides. In the output each
       hole is 8.
    5. The 8 cells around each hole have become the other one of the two colors.
    Procedure:
    1. Find the two colors: the most common ones besides 0.
    2. A colored cell is noise if at least three of the cells above, below, left and right of it have
       the same other color. Give it that color.
    3. After this find the holes: cells of 0 for which at least three of the cells above, below,
       left and right have the same color, not 0.
    4. For each hole color the 8 cells around it with the color that is not the one found there.
    5. Color all holes with 8.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the two colors: the most common ones besides 0.
    cells = [cell for row in grid for cell in row if cell != 0]
    first, second = sorted(set(cells), key=cells.count, reverse=True)[:2]

    def main_neighbor(rows, r, c):
        near = []
        for y, x in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)):
            if 0 <= y < height and 0 <= x < width:
                near.append(rows[y][x])
        most = max(set(near), key=near.count)
        return most if near.count(most) >= 3 else rows[r][c]

    # 2. A colored cell is noise if at least three of the cells above, below, left and right of it
    #    have the same other color. Give it that color.
    clean = [list(row) for row in grid]
    for r in range(height):
        for c in range(width):
            if grid[r][c] != 0:
                clean[r][c] = main_neighbor(grid, r, c)
    # 3. After this find the holes: cells of 0 for which at least three of the cells above, below,
    #    left and right have the same color, not 0.
    holes = []
    for r in range(height):
        for c in range(width):
            if clean[r][c] == 0 and main_neighbor(clean, r, c) != 0:
                holes.append((r, c, main_neighbor(clean, r, c)))
    # 4. For each hole color the 8 cells around it with the color that is not the one found there.
    output = [list(row) for row in clean]
    for r, c, color in holes:
        for y in range(max(0, r - 1), min(height, r + 2)):
            for x in range(max(0, c - 1), min(width, c + 2)):
                output[y][x] = second if color == first else first
    # 5. Color all holes with 8.
    for r, c, color in holes:
        output[r][c] = 8
    result = output
    return result
