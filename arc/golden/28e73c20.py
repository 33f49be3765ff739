def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The input has only one color.
    3. The output has a line of 3 that starts in the top left cell and goes to the right.
    4. The line winds inwards as a spiral: it turns right again and again.
    5. Between two turns of the spiral lies a path of the old color, one cell wide.
    Procedure:
    1. Color the top left cell with 3 and look to the right.
    2. The way is blocked if the next cell is outside the grid or colored, or if the cell after the
       next is colored.
    3. If the way is not blocked, step to the next cell and color it with 3.
    4. If the way is blocked, turn right. Stop if it is blocked again after the turn.
    """
    height = len(grid)
    width = len(grid[0])
    output = [list(row) for row in grid]
    # 1. Color the top left cell with 3 and look to the right.
    r, c = 0, 0
    dr, dc = 0, 1
    colored = {(r, c)}
    turns = 0
    while turns < 2:
        # 2. The way is blocked if the next cell is outside the grid or colored, or if the cell
        #    after the next is colored.
        y, x = r + dr, c + dc
        inside = 0 <= y < height and 0 <= x < width
        blocked = not inside or (y, x) in colored or (y + dr, x + dc) in colored
        # 3. If the way is not blocked, step to the next cell and color it with 3.
        if not blocked:
            r, c = y, x
            colored.add((r, c))
            turns = 0
        # 4. If the way is blocked, turn right. Stop if it is blocked again after the turn.
        else:
            dr, dc = dc, -dr
            turns += 1
    for r, c in colored:
        output[r][c] = 3
    result = output
    return result
