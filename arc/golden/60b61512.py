def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The most common color is the background.
    3. There are some objects: groups of cells of one other color that touch by sides or corners.
    4. In the output the objects are kept, and the smallest rectangle around each object has been
       filled up: its background cells have become 7.
    Procedure:
    1. Find the background.
    2. Collect the objects, as groups of cells that touch by sides or corners and have one color.
    3. Find the first and last row and the first and last column of each object.
    4. Color each background cell of this rectangle with 7.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [value for row in grid for value in row]
    background = max(set(cells), key=cells.count)
    # 2. Collect the objects, as groups of cells that touch by sides or corners and have one color.
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
    output = [list(row) for row in grid]
    for group in objects:
        # 3. Find the first and last row and the first and last column of each object.
        rows = [r for r, c in group]
        columns = [c for r, c in group]
        # 4. Color each background cell of this rectangle with 7.
        for r in range(min(rows), max(rows) + 1):
            for c in range(min(columns), max(columns) + 1):
                if grid[r][c] == background:
                    output[r][c] = 7
    result = output
    return result
