def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is the most common
       color.
    2. At the top there is a large object of one color, the roof, that hangs from the first row. In
       some columns it is longer than in others. No other color has as many cells in a border row
       or border column.
    3. Below there are vertical bars of a third color, at most one in each column, and only in
       columns of the roof.
    4. In the output each bar has moved up in its column until it touches the roof.
    5. The roof does not move. (If the whole picture is turned, it can first be turned back.)
    Procedure:
    1. Turn the grid by quarter turns to the right so that the first row has as many cells of one
       color, not background, as possible. Take the fewest turns. This color is the roof.
    2. Go through the columns. Count the cells that are neither background nor roof: this is the
       length of the bar. Remove the bar.
    3. Find the first row of the column below the last cell of the roof. Without a roof it is the
       first row of the grid.
    4. Draw the bar downward from there.
    5. Turn the output on to the right, until there are four turns in all.
    """

    def turn(rows):
        return [list(column) for column in zip(*rows[::-1], strict=True)]

    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)
    # 1. Turn the grid by quarter turns to the right so that the first row has as many cells of one
    #    color, not background, as possible. Take the fewest turns. This color is the roof.
    most = 0
    for turns in range(4):
        for color in set(grid[0]) - {background}:
            if grid[0].count(color) > most:
                most = grid[0].count(color)
                best_turns = turns
                roof = color
        grid = turn(grid)
    for _ in range(best_turns):
        grid = turn(grid)
    height = len(grid)
    width = len(grid[0])
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
        for r in range(start, start + len(bar)):
            output[r][c] = bar[0]
    # 5. Turn the output on to the right, until there are four turns in all.
    for _ in range(4 - best_turns):
        output = turn(output)
    result = output
    return result
