def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is the most common
       color.
    2. At the top there is a large object of one color, the roof, that hangs from the first row. In
       some columns it is longer than in others.
    3. Below there are vertical bars of a third color, at most one in each column.
    4. In the output each bar has moved up in its column until it touches the roof or the border
       of the grid.
    5. The roof does not move.
    Procedure:
    1. The color of the roof is the one in the first row that is not background.
    2. Go through the columns. Count the cells that are neither background nor roof: this is the
       length of the bar. Remove the bar.
    3. Find the first row of the column below the last cell of the roof. Without a roof it is the
       first row of the grid.
    4. Draw the bar downward from there.
    """
    height = len(grid)
    width = len(grid[0])
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)
    # 1. The color of the roof is the one in the first row that is not background.
    roof = next(cell for cell in grid[0] if cell != background)
    output = [[cell if cell == roof else background for cell in row] for row in grid]
    for c in range(width):
        column = [row[c] for row in grid]
        # 2. Go through the columns. Count the cells that are neither background nor roof: this is
        #    the length of the bar. Remove the bar.
        bar = [cell for cell in column if cell not in (background, roof)]
        # 3. Find the first row of the column below the last cell of the roof. Without a roof it is
        #    the first row of the grid.
        start = 0
        for r in range(height):
            if column[r] == roof:
                start = r + 1
        # 4. Draw the bar downward from there.
        for r in range(start, min(start + len(bar), height)):
            output[r][c] = bar[0]
    result = output
    return result
