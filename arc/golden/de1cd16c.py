def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output is a single cell.
    2. The input consists of a few large rectangles, each of another color.
    3. Scattered cells of one more color lie on the rectangles: the dots.
    4. One rectangle has more dots than each other one.
    5. The output is the color of this rectangle.
    Procedure:
    1. Count the single cells of each color: those without a cell of the same color above, below,
       left or right. The dots are the color with the most single cells.
    2. For each other color find the first and last row and column that have it.
    3. Count the dots between these rows and columns.
    4. Take the color with the most dots.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Count the single cells of each color: those without a cell of the same color above, below,
    #    left or right. The dots are the color with the most single cells.
    colors = sorted({cell for row in grid for cell in row})
    singles = dict.fromkeys(colors, 0)
    for r in range(height):
        for c in range(width):
            near = []
            for y, x in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)):
                if 0 <= y < height and 0 <= x < width:
                    near.append(grid[y][x])
            if grid[r][c] not in near:
                singles[grid[r][c]] += 1
    dot = max(colors, key=singles.get)
    counts = {}
    for color in colors:
        if color == dot:
            continue
        # 2. For each other color find the first and last row and column that have it.
        rows = [r for r in range(height) if color in grid[r]]
        columns = [c for c in range(width) if color in [row[c] for row in grid]]
        # 3. Count the dots between these rows and columns.
        part = [row[columns[0] : columns[-1] + 1] for row in grid[rows[0] : rows[-1] + 1]]
        counts[color] = sum(row.count(dot) for row in part)
    # 4. Take the color with the most dots.
    most = max(counts, key=counts.get)
    result = [[most]]
    return result
