def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The background is the most common color.
    2. The input has several figures of one color each. Cells of one color that touch, side by side
       or corner to corner, are one figure.
    3. One figure has more cells than the others.
    4. The output is the smallest box around this figure, with only this figure in it.
    Procedure:
    1. Find the background and the figures.
    2. Take the figure that has the most cells.
    3. Find its first and last row and column.
    4. Make a box of background of this size, and draw the figure in it.
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
    # 2. Take the figure that has the most cells.
    largest = max(figures, key=len)
    # 3. Find its first and last row and column.
    top, bottom = min(r for r, _ in largest), max(r for r, _ in largest)
    left, right = min(c for _, c in largest), max(c for _, c in largest)
    # 4. Make a box of background of this size, and draw the figure in it.
    box = [[background] * (right - left + 1) for _ in range(bottom - top + 1)]
    for r, c in largest:
        box[r - top][c - left] = grid[r][c]
    result = box
    return result
