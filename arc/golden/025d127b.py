def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The most common color is the background.
    3. There are some objects: groups of cells of one color that touch by sides or corners.
    4. In the output the last row of each object is unchanged.
    5. All its other cells have moved one step to the right, but never beyond the last column that
       the object had before.
    Procedure:
    1. Find the background.
    2. Collect the objects.
    3. Find the last row and the last column of each object.
    4. On an empty grid, draw the cells of its last row where they were.
    5. Draw its other cells one column further right, but at most in its last column.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [value for row in grid for value in row]
    background = max(set(cells), key=cells.count)
    # 2. Collect the objects.
    unseen = []
    for r in range(height):
        for c in range(width):
            if grid[r][c] != background:
                unseen.append((r, c))
    objects = []
    while unseen:
        group = [unseen.pop()]
        for r, c in group:
            for nr, nc in list(unseen):
                if abs(nr - r) <= 1 and abs(nc - c) <= 1 and grid[nr][nc] == grid[r][c]:
                    unseen.remove((nr, nc))
                    group.append((nr, nc))
        objects.append(group)
    output = [[background] * width for _ in range(height)]
    for group in objects:
        # 3. Find the last row and the last column of each object.
        last_row = max(r for r, c in group)
        last_column = max(c for r, c in group)
        for r, c in group:
            # 4. On an empty grid, draw the cells of its last row where they were.
            if r == last_row:
                output[r][c] = grid[r][c]
            # 5. Draw its other cells one column further right, but at most in its last column.
            else:
                output[r][min(c + 1, last_column)] = grid[r][c]
    result = output
    return result
