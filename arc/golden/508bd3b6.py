def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color. The rarest color is that of a short diagonal line,
       and the third color is that of a wall.
    3. The wall is a straight band, and the line has its start at the border of the grid.
    4. The line goes on from its other end, in color 3 and in the same direction.
    5. When the next cell would be in the wall, the line is reflected: it goes on diagonally, away
       from the wall.
    6. It ends at the border of the grid.
    Procedure:
    1. Find the three colors, and the two ends of the short line.
    2. The start is the end from which the next cell backwards is outside the grid.
    3. Go on from the other end, always one row and one column further.
    4. If the next cell is in the wall, turn around: up and down if the wall lies above or below,
       else left and right.
    5. Color the cells with 3 until the border of the grid is reached.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the three colors, and the two ends of the short line.
    cells = [cell for row in grid for cell in row]
    short, wall, _ = sorted(set(cells), key=cells.count)
    line = [(r, c) for r in range(height) for c in range(width) if grid[r][c] == short]
    start, end = line[0], line[-1]
    dr = 1
    dc = 1 if end[1] > start[1] else -1
    # 2. The start is the end from which the next cell backwards is outside the grid.
    if 0 <= start[0] - dr < height and 0 <= start[1] - dc < width:
        end = start
        dr, dc = -dr, -dc
    output = [list(row) for row in grid]
    # 3. Go on from the other end, always one row and one column further.
    r, c = end
    while 0 <= r + dr < height and 0 <= c + dc < width:
        # 4. If the next cell is in the wall, turn around: up and down if the wall lies above or
        #    below, else left and right.
        if grid[r + dr][c + dc] == wall:
            if grid[r + dr][c] == wall:
                dr = -dr
            else:
                dc = -dc
        # 5. Color the cells with 3 until the border of the grid is reached.
        r, c = r + dr, c + dc
        if 0 <= r < height and 0 <= c < width:
            output[r][c] = 3
    result = output
    return result
