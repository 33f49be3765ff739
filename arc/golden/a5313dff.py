def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size; the background is the most common color.
    2. The input has lines and single cells of one other color.
    3. In the output all background that is enclosed by them is 1; everything else stays.
    4. Background at the edge of the grid is not enclosed. Lines enclose also where they touch only
       by corners.
    Procedure:
    1. Find the background: the most common color.
    2. Mark all background cells at the edge of the grid.
    3. For each marked cell, mark the background cells above, below, left and right of it, too,
       until none is left to mark.
    4. Give each background cell that is not marked the color 1.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    flat = [cell for row in grid for cell in row]
    background = max(set(flat), key=flat.count)
    # 2. Mark all background cells at the edge of the grid.
    marked = []
    for r in range(height):
        for c in range(width):
            at_edge = r in (0, height - 1) or c in (0, width - 1)
            if at_edge and grid[r][c] == background:
                marked.append((r, c))
    # 3. For each marked cell, mark the background cells above, below, left and right of it, too,
    #    until none is left to mark.
    seen = set(marked)
    for r, c in marked:
        for y, x in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)):
            in_grid = 0 <= y < height and 0 <= x < width
            if in_grid and grid[y][x] == background and (y, x) not in seen:
                seen.add((y, x))
                marked.append((y, x))
    # 4. Give each background cell that is not marked the color 1.
    output = [row[:] for row in grid]
    for r in range(height):
        for c in range(width):
            if grid[r][c] == background and (r, c) not in seen:
                output[r][c] = 1
    result = output
    return result
