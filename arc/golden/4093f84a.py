def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. One solid bar of one color, found nowhere else, crosses the whole grid, flat or upright.
    3. The most common color outside the bar is the background.
    4. There are cells of another color on the sides of the bar, the dots.
    5. In the output the dots have moved straight to the bar and have got its color.
    6. If several dots on one side move along the same line, they are stacked on the bar.
    Procedure:
    1. Look for a color that only occurs in rows of one single color: the bar.
    2. If there is none, the bar is upright: swap rows and columns and look again.
    3. Find the first and the last row of the bar, and the background.
    4. For each column, count the dots above the bar and below it.
    5. Draw the bar, and in each column as many cells of its color above it and below it as there
       are dots.
    6. If rows and columns were swapped, swap them back.
    """
    # 1. Look for a color that only occurs in rows of one single color: the bar.
    def find_bar(rows):
        for row in rows:
            color = row[0]
            if all(color not in other or set(other) == {color} for other in rows):
                return color
        return None
    bar = find_bar(grid)
    # 2. If there is none, the bar is upright: swap rows and columns and look again.
    swapped = bar is None
    if swapped:
        grid = [list(column) for column in zip(*grid)]
        bar = find_bar(grid)
    # 3. Find the first and the last row of the bar, and the background.
    height = len(grid)
    width = len(grid[0])
    bar_rows = [r for r in range(height) if grid[r][0] == bar]
    first = bar_rows[0]
    last = bar_rows[-1]
    others = [value for row in grid for value in row if value != bar]
    background = max(set(others), key=others.count)
    output = [[background] * width for _ in range(height)]
    for c in range(width):
        # 4. For each column, count the dots above the bar and below it.
        above = sum(1 for r in range(first) if grid[r][c] != background)
        below = sum(1 for r in range(last + 1, height) if grid[r][c] != background)
        # 5. Draw the bar, and in each column as many cells of its color above it and below it as
        # there are dots.
        for r in range(first - above, last + below + 1):
            output[r][c] = bar
    # 6. If rows and columns were swapped, swap them back.
    if swapped:
        output = [list(column) for column in zip(*output)]
    result = output
    return result
