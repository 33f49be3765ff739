def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The background is the most common color.
    2. The input has several figures of one color each. Cells of one color that touch side by side
       are one figure.
    3. Only the largest figures count: those with the most cells. There may be one or more.
    4. The output has one column for each of them, in its color.
    5. The columns are ordered from left to right, by the leftmost cells of the figures.
    6. The output has as many rows as a largest figure has cells.
    Procedure:
    1. Find the background and the figures.
    2. Find the number of cells of the largest figure.
    3. List the leftmost column and the color of each figure with this number of cells.
    4. Sort the list by the column.
    5. Repeat the row of these colors as often as a largest figure has cells.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background and the figures.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    figures = []
    seen = set()
    for r in range(height):
        for c in range(width):
            if grid[r][c] == background or (r, c) in seen:
                continue
            figure = [(r, c)]
            seen.add((r, c))
            for y, x in figure:
                for ny, nx in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                    inside = 0 <= ny < height and 0 <= nx < width
                    if inside and (ny, nx) not in seen and grid[ny][nx] == grid[r][c]:
                        seen.add((ny, nx))
                        figure.append((ny, nx))
            figures.append(figure)
    # 2. Find the number of cells of the largest figure.
    size = max(len(figure) for figure in figures)
    # 3. List the leftmost column and the color of each figure with this number of cells.
    largest = []
    for figure in figures:
        if len(figure) == size:
            r, c = figure[0]
            largest.append((min(x for _, x in figure), grid[r][c]))
    # 4. Sort the list by the column.
    largest.sort()
    # 5. Repeat the row of these colors as often as a largest figure has cells.
    result = [[color for _, color in largest] for _ in range(size)]
    return result
