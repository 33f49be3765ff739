def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The background is the most common color.
    2. The input has several figures of one color each. Cells of one color that touch, side by side
       or corner to corner, are one figure.
    3. The figures have different numbers of cells.
    4. The output is one column with one cell for each figure, in the color of the figure.
    5. They are sorted: the figure with the most cells is at the top.
    Procedure:
    1. Find the background and the figures.
    2. Sort the figures by the number of cells, the largest first.
    3. Write their colors one below the other.
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
                for ny in range(max(y - 1, 0), min(y + 2, height)):
                    for nx in range(max(x - 1, 0), min(x + 2, width)):
                        if grid[ny][nx] == grid[r][c] and (ny, nx) not in seen:
                            seen.add((ny, nx))
                            figure.append((ny, nx))
            figures.append(figure)
    # 2. Sort the figures by the number of cells, the largest first.
    figures.sort(key=len, reverse=True)
    # 3. Write their colors one below the other.
    output = []
    for figure in figures:
        r, c = figure[0]
        output.append([grid[r][c]])
    result = output
    return result
