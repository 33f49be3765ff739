def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color.
    3. There are single colored cells on one side of the grid, for example in the first row. They
       do not touch each other, and they stay the same.
    4. The other cells form filled rectangles of one color each, with more than one cell.
       Rectangles of the same color do not touch side by side.
    5. Each rectangle has exactly one single cell in its columns (or in its rows, if the single
       cells are on the left or right side), and it gets the color of this cell.
    Procedure:
    1. Find the background.
    2. Find the groups of cells of one color that touch side by side. Groups of one cell are the
       single cells.
    3. If all single cells are in the first row or all in the last row, a rectangle belongs to the
       single cell in its columns. Else it belongs to the single cell in its rows.
    4. Color each rectangle with the color of its single cell.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    # 2. Find the groups of cells of one color that touch side by side. Groups of one cell are the
    #    single cells.
    singles = []
    rectangles = []
    seen = set()
    for r in range(height):
        for c in range(width):
            if grid[r][c] == background or (r, c) in seen:
                continue
            group = [(r, c)]
            seen.add((r, c))
            for y, x in group:
                for ny, nx in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                    inside = 0 <= ny < height and 0 <= nx < width
                    if inside and (ny, nx) not in seen and grid[ny][nx] == grid[r][c]:
                        seen.add((ny, nx))
                        group.append((ny, nx))
            if len(group) == 1:
                singles.append((r, c))
            else:
                rectangles.append(group)
    # 3. If all single cells are in the first row or all in the last row, a rectangle belongs to
    #    the single cell in its columns. Else it belongs to the single cell in its rows.
    in_one_row = {r for r, _ in singles} in ({0}, {height - 1})
    output = [list(row) for row in grid]
    for rectangle in rectangles:
        for r, c in singles:
            if in_one_row:
                matches = c in {x for _, x in rectangle}
            else:
                matches = r in {y for y, _ in rectangle}
            # 4. Color each rectangle with the color of its single cell.
            if matches:
                for y, x in rectangle:
                    output[y][x] = grid[r][c]
    result = output
    return result
