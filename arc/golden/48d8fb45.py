def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The background is the most common color.
    2. The other cells form figures. Cells that touch, side by side or corner to corner, belong to
       one figure.
    3. Each figure has one color, but one figure has a mark: a single cell of another color.
    4. The output is the box around this figure, without the mark.
    Procedure:
    1. Find the background and the figures.
    2. Take the figure that has two colors.
    3. Its color is the more common one of the two. Leave out the mark.
    4. Find the first and the last row and column of the other cells.
    5. Make a box of background of this size and draw the cells in it.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background and the figures.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    marked = []
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
                        if grid[ny][nx] != background and (ny, nx) not in seen:
                            seen.add((ny, nx))
                            figure.append((ny, nx))
            # 2. Take the figure that has two colors.
            if len({grid[y][x] for y, x in figure}) == 2:
                marked = figure
    # 3. Its color is the more common one of the two. Leave out the mark.
    colors = [grid[r][c] for r, c in marked]
    color = max(colors, key=colors.count)
    marked = [(r, c) for r, c in marked if grid[r][c] == color]
    # 4. Find the first and the last row and column of the other cells.
    top = min(r for r, _ in marked)
    bottom = max(r for r, _ in marked)
    left = min(c for _, c in marked)
    right = max(c for _, c in marked)
    # 5. Make a box of background of this size and draw the cells in it.
    box = [[background] * (right - left + 1) for _ in range(bottom - top + 1)]
    for r, c in marked:
        box[r - top][c - left] = color
    result = box
    return result
