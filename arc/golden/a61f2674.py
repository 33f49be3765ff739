def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is the most common
       color.
    2. The input has vertical bars of one color. They stand on the last row, in different columns,
       and have different heights.
    3. In the output the highest bar is 1 and the lowest bar is 2.
    4. All the other bars are gone.
    Procedure:
    1. Find the background: the most common color.
    2. Count the colored cells in each column: this is the height of its bar.
    3. Find the columns with the largest and with the smallest height. Columns without a bar do not
       count.
    4. Color the bar in the first one with 1, the bar in the second one with 2.
    5. Make all the other cells background.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)
    # 2. Count the colored cells in each column: this is the height of its bar.
    heights = {}
    for c in range(width):
        bar = [row[c] for row in grid if row[c] != background]
        if bar:
            heights[c] = len(bar)
    # 3. Find the columns with the largest and with the smallest height. Columns without a bar do
    #    not count.
    highest = max(heights, key=heights.get)
    lowest = min(heights, key=heights.get)
    output = [[background] * width for r in range(height)]
    for r in range(height):
        # 4. Color the bar in the first one with 1, the bar in the second one with 2.
        # 5. Make all the other cells background.
        if grid[r][lowest] != background:
            output[r][lowest] = 2
        if grid[r][highest] != background:
            output[r][highest] = 1
    result = output
    return result
