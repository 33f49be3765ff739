def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The background is the most common color.
    2. The input has several square figures that do not touch side by side. Each figure is filled
       with two colors.
    3. One of the two colors is 1.
    4. The output is a copy of the figure that has the most cells of color 1.
    Procedure:
    1. Find the background.
    2. Find the groups of cells that are not background and touch side by side: the figures.
    3. Count the cells of color 1 in each figure.
    4. Cut out the figure with the largest count.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    # 2. Find the groups of cells that are not background and touch side by side: the figures.
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
                    if inside and (ny, nx) not in seen and grid[ny][nx] != background:
                        seen.add((ny, nx))
                        figure.append((ny, nx))
            # 3. Count the cells of color 1 in each figure.
            count = sum(1 for y, x in figure if grid[y][x] == 1)
            figures.append((count, min(figure), max(figure)))
    # 4. Cut out the figure with the largest count.
    _, (top, left), (bottom, right) = max(figures)
    result = [row[left : right + 1] for row in grid[top : bottom + 1]]
    return result
