def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The background is the most common color.
    2. The input has several figures of one color each. The cells of a figure touch side by side.
    3. One figure has a hole, the others are filled rectangles.
    4. The output is 1x1: it has the color of the figure with the hole.
    Procedure:
    1. Find the background.
    2. Find the figures.
    3. Count the cells of each figure, and the cells of the smallest box that holds it.
    4. If the box has more cells than the figure, return the color of the figure.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    # 2. Find the figures.
    color = background
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
            # 3. Count the cells of each figure, and the cells of the smallest box that holds it.
            rows = [y for y, _ in figure]
            columns = [x for _, x in figure]
            box = (max(rows) - min(rows) + 1) * (max(columns) - min(columns) + 1)
            # 4. If the box has more cells than the figure, return the color of the figure.
            if box > len(figure):
                color = grid[r][c]
    result = [[color]]
    return result
