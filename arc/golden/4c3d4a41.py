def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is 0.
    2. On the right there is a box with walls of 5, which has an opening in its left wall. Its first
       row is the first row of the grid, its right wall is the last column of the grid.
    3. In the box vertical bars hang from the top wall, in every second column. Their cells are 5 or
       other colors.
    4. To the left of the box there are stairs of 5: columns of different heights on a common floor.
       There are as many columns as bars, at the same distances.
    5. In the output the stairs have moved to the right into the box. The first column of the stairs
       is now where the first bar is.
    6. Each bar that was in the way has been pushed up, so that it ends directly above the stairs.
       What is pushed into the top wall is gone.
    Procedure:
    1. Find the left wall: the first column with a cell that is not 0 in the first row.
    2. All colored cells to the left of it are the stairs.
    3. Find the bars: the columns between the left wall and the last column with a colored cell in
       the second row.
    4. The shift is the column of the first bar minus the first column of the stairs.
    5. For each bar find its last row and the highest row of the stairs after the shift in this
       column. Push the bar up until it ends above this row.
    6. Draw the stairs after the shift and remove them on the left.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the left wall: the first column with a cell that is not 0 in the first row.
    wall = next(c for c in range(width) if grid[0][c] != 0)
    # 2. All colored cells to the left of it are the stairs.
    stairs = [(r, c) for r in range(height) for c in range(wall) if grid[r][c] != 0]
    # 3. Find the bars: the columns between the left wall and the last column with a colored cell in
    #    the second row.
    bars = [c for c in range(wall + 1, width - 1) if grid[1][c] != 0]
    # 4. The shift is the column of the first bar minus the first column of the stairs.
    shift = bars[0] - min(c for r, c in stairs)
    output = [list(row) for row in grid]
    for c in bars:
        # 5. For each bar find its last row and the highest row of the stairs after the shift in
        #    this column. Push the bar up until it ends above this row.
        last = 1
        while last + 1 < height - 1 and grid[last + 1][c] != 0:
            last += 1
        steps = [r for r, x in stairs if x + shift == c]
        push = max(0, last + 1 - min(steps)) if steps else 0
        for r in range(1, last + 1):
            output[r][c] = grid[r + push][c] if r + push <= last else 0
    # 6. Draw the stairs after the shift and remove them on the left.
    for r, c in stairs:
        output[r][c] = 0
    for r, c in stairs:
        output[r][c + shift] = grid[r][c]
    result = output
    return result
