def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The input has filled rectangles of one color each on a background. Rectangles of the same
       color do not touch side by side.
    3. The cells of the background do not form a filled rectangle. They stay the same.
    4. The four corners of a rectangle become 1.
    5. The other cells on its edge become 4.
    6. The cells inside of it become 2.
    Procedure:
    1. Find the groups of cells of one color that touch side by side.
    2. Find the first and the last row and column of each group. If the group does not fill this
       box, its color is the background.
    3. In the other groups go through the cells.
    4. A cell is a corner if it is in the first or last row and in the first or last column: set it
       to 1.
    5. It is on the edge if only one of the two is true: set it to 4.
    6. Else it is inside: set it to 2.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the groups of cells of one color that touch side by side.
    groups = []
    background = set()
    seen = set()
    for r in range(height):
        for c in range(width):
            if (r, c) in seen:
                continue
            group = [(r, c)]
            seen.add((r, c))
            for y, x in group:
                for ny, nx in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                    inside = 0 <= ny < height and 0 <= nx < width
                    if inside and (ny, nx) not in seen and grid[ny][nx] == grid[r][c]:
                        seen.add((ny, nx))
                        group.append((ny, nx))
            # 2. Find the first and the last row and column of each group. If the group does not
            #    fill this box, its color is the background.
            rows = (min(y for y, _ in group), max(y for y, _ in group))
            columns = (min(x for _, x in group), max(x for _, x in group))
            if (rows[1] - rows[0] + 1) * (columns[1] - columns[0] + 1) != len(group):
                background.add(grid[r][c])
            groups.append((group, rows, columns))
    output = [list(row) for row in grid]
    for group, rows, columns in groups:
        # 3. In the other groups go through the cells.
        for r, c in group:
            if grid[r][c] in background:
                continue
            # 4. A cell is a corner if it is in the first or last row and in the first or last
            #    column: set it to 1.
            if r in rows and c in columns:
                output[r][c] = 1
            # 5. It is on the edge if only one of the two is true: set it to 4.
            elif r in rows or c in columns:
                output[r][c] = 4
            # 6. Else it is inside: set it to 2.
            else:
                output[r][c] = 2
    result = output
    return result
