def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color.
    3. The other cells form groups of cells that touch, side by side or corner to corner.
    4. Each group has a mirror of color 2: a straight line or a single cell. Its other cells are a
       figure of another color.
    5. The output also has the mirror image of each figure. The mirror stays where it is.
    6. A horizontal line mirrors upside down, and a vertical line mirrors left to right.
    7. A single cell mirrors in both ways at once.
    Procedure:
    1. Find the background and the groups.
    2. Find the first and the last row and column of the mirror of each group.
    3. If the mirror lies in one row, each cell of the figure goes to the row that is as far on the
       other side of the mirror.
    4. If the mirror lies in one column, do the same with the columns.
    5. Color the cells that are reached, if they are on the grid.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background and the groups.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    groups = []
    seen = set()
    for r in range(height):
        for c in range(width):
            if grid[r][c] == background or (r, c) in seen:
                continue
            group = [(r, c)]
            seen.add((r, c))
            for y, x in group:
                for ny in range(max(y - 1, 0), min(y + 2, height)):
                    for nx in range(max(x - 1, 0), min(x + 2, width)):
                        if grid[ny][nx] != background and (ny, nx) not in seen:
                            seen.add((ny, nx))
                            group.append((ny, nx))
            groups.append(group)
    output = [list(row) for row in grid]
    for group in groups:
        # 2. Find the first and the last row and column of the mirror of each group.
        rows = [r for r, c in group if grid[r][c] == 2]
        columns = [c for r, c in group if grid[r][c] == 2]
        if not rows:
            continue
        top, bottom = min(rows), max(rows)
        left, right = min(columns), max(columns)
        for r, c in group:
            y, x = r, c
            # 3. If the mirror lies in one row, each cell of the figure goes to the row that is as
            #    far on the other side of the mirror.
            if top == bottom:
                y = top + bottom - r
            # 4. If the mirror lies in one column, do the same with the columns.
            if left == right:
                x = left + right - c
            # 5. Color the cells that are reached, if they are on the grid.
            if 0 <= y < height and 0 <= x < width and grid[r][c] != 2:
                output[y][x] = grid[r][c]
    result = output
    return result
