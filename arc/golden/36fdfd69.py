def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The input has three colors, and the rarest of them is the color of rectangles.
    3. Only some cells of each rectangle are visible, the others have another color.
    4. Two visible cells belong to one rectangle if they are at most two rows and at most two
       columns apart.
    5. The rectangle is the smallest box that holds all of its visible cells.
    6. The cells of the rectangle that are not visible become 4. All other cells stay the same.
    Procedure:
    1. Collect the cells of the rarest color: the visible cells.
    2. Join cells that are at most two rows and two columns apart to a group.
    3. Find the first and the last row and column of each group.
    4. Set each cell in this box that is not visible to 4.
    """
    # 1. Collect the cells of the rarest color: the visible cells.
    cells = [cell for row in grid for cell in row]
    color = min(cells, key=cells.count)
    waiting = {(r, c) for r, row in enumerate(grid) for c, x in enumerate(row) if x == color}
    output = [list(row) for row in grid]
    while waiting:
        # 2. Join cells that are at most two rows and two columns apart to a group.
        group = [waiting.pop()]
        for r, c in group:
            near = {(y, x) for y, x in waiting if abs(y - r) <= 2 and abs(x - c) <= 2}
            group += near
            waiting -= near
        # 3. Find the first and the last row and column of each group.
        top = min(r for r, _ in group)
        bottom = max(r for r, _ in group)
        left = min(c for _, c in group)
        right = max(c for _, c in group)
        # 4. Set each cell in this box that is not visible to 4.
        for r in range(top, bottom + 1):
            for c in range(left, right + 1):
                if grid[r][c] != color:
                    output[r][c] = 4
    result = output
    return result
