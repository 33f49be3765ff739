def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The most common color of the input is the background. There is one other color, the lines.
    3. The lines stay the same, and most of the background too.
    4. Some background areas become 4. These areas are surrounded by lines.
    5. A step goes up, down, left or right. From such an area no path over the background reaches
       the border of the grid: lines that meet only at a corner are closed too.
    Procedure:
    1. Find the background: the most common color.
    2. Start from all cells on the border of the grid that are background.
    3. From each reached cell step up, down, left and right, onto background cells only.
    4. Color each background cell that was not reached with 4.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)
    # 2. Start from all cells on the border of the grid that are background.
    stack = [(r, c) for r in range(height) for c in (0, width - 1)]
    stack += [(r, c) for r in (0, height - 1) for c in range(width)]
    # 3. From each reached cell step up, down, left and right, onto background cells only.
    reached = set()
    while stack:
        r, c = stack.pop()
        if not (0 <= r < height and 0 <= c < width):
            continue
        if (r, c) in reached or grid[r][c] != background:
            continue
        reached.add((r, c))
        stack += [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]
    # 4. Color each background cell that was not reached with 4.
    output = [list(row) for row in grid]
    for r in range(height):
        for c in range(width):
            if grid[r][c] == background and (r, c) not in reached:
                output[r][c] = 4
    result = output
    return result
