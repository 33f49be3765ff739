def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The two most common colors form large areas: stripes and what is between them.
    3. There are a few single cells of two other colors, the dots. All dots of one color lie on the
       same area color.
    4. From each dot four diagonal lines go to the border of the grid.
    5. A line changes its color with the area: on each area color it has the color of the dots that
       lie on it.
    Procedure:
    1. Find the two area colors: the two most common colors.
    2. For each dot color count the cells of each area color next to its dots, above, below, left
       and right. It belongs to the area color that it has more of.
    3. From each dot go in the four diagonal directions up to the border.
    4. Color each cell there with the dot color that belongs to its area color.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the two area colors: the two most common colors.
    cells = [cell for row in grid for cell in row]
    areas = sorted(set(cells), key=cells.count, reverse=True)[:2]
    positions = [(r, c) for r in range(height) for c in range(width)]
    dots = [(r, c) for r, c in positions if grid[r][c] not in areas]
    # 2. For each dot color count the cells of each area color next to its dots, above, below, left
    #    and right. It belongs to the area color that it has more of.
    line_colors = {}
    for dot_color in sorted({grid[r][c] for r, c in dots}):
        near = []
        for r, c in dots:
            if grid[r][c] == dot_color:
                for y, x in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)):
                    if 0 <= y < height and 0 <= x < width:
                        near.append(grid[y][x])
        area = max(areas, key=near.count)
        line_colors[area] = dot_color
    output = [list(row) for row in grid]
    for r, c in dots:
        # 3. From each dot go in the four diagonal directions up to the border.
        for down in (-1, 1):
            for right in (-1, 1):
                y, x = r + down, c + right
                while 0 <= y < height and 0 <= x < width:
                    # 4. Color each cell there with the dot color that belongs to its area color.
                    output[y][x] = line_colors.get(grid[y][x], grid[y][x])
                    y += down
                    x += right
    result = output
    return result
