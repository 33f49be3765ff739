def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is the most common color of the
       rows above the last one.
    2. Each row of the input is empty or has one horizontal bar of one color.
    3. All bars have different lengths. The bar in the last row is as wide as the grid, and no other
       row has its color.
    4. The output has the same bars, sorted by length: the longest one is in the last row, the next
       one above it, and so on, without empty rows between.
    5. In the output all bars end at the right border. (If the whole picture is turned, it can first
       be turned back.)
    Procedure:
    1. Turn the grid by quarter turns to the right until the last row has one color that no other
       row has. Count the turns.
    2. Collect the bars: the cells of each row that are not background, if there are any.
    3. Sort them by length, the shortest first.
    4. Fill each bar with background on its left up to the width of the grid.
    5. Put empty rows above them up to the height of the grid.
    6. Turn the output on to the right, until there are four turns in all.
    """

    def turn(rows):
        return [list(column) for column in zip(*rows[::-1], strict=True)]

    # 1. Turn the grid by quarter turns to the right until the last row has one color that no other
    #    row has. Count the turns.
    turns = 0
    above = [cell for row in grid[:-1] for cell in row]
    while turns < 4 and (len(set(grid[-1])) > 1 or grid[-1][0] in above):
        grid = turn(grid)
        above = [cell for row in grid[:-1] for cell in row]
        turns += 1
    background = max(set(above), key=above.count)
    height = len(grid)
    width = len(grid[0])
    # 2. Collect the bars: the cells of each row that are not background, if there are any.
    bars = []
    for row in grid:
        bar = [cell for cell in row if cell != background]
        if bar:
            bars.append(bar)
    # 3. Sort them by length, the shortest first.
    bars.sort(key=len)
    # 4. Fill each bar with background on its left up to the width of the grid.
    rows = [[background] * (width - len(bar)) + bar for bar in bars]
    # 5. Put empty rows above them up to the height of the grid.
    empty = [[background] * width for r in range(height - len(rows))]
    output = empty + rows
    # 6. Turn the output on to the right, until there are four turns in all.
    for _ in range(4 - turns):
        output = turn(output)
    result = output
    return result
