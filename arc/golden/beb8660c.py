def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is 0.
    2. Each row of the input is empty or has one horizontal bar of one color.
    3. All bars have different lengths. The bar in the last row is as wide as the grid.
    4. The output has the same bars, sorted by length: the longest one is in the last row, the next
       one above it, and so on, without empty rows between.
    5. In the output all bars end at the right border.
    Procedure:
    1. Collect the bars: the colored cells of each row that is not empty.
    2. Sort them by length, the shortest first.
    3. Fill each bar with 0 on its left up to the width of the grid.
    4. Put empty rows above them up to the height of the grid.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Collect the bars: the colored cells of each row that is not empty.
    bars = []
    for row in grid:
        bar = [cell for cell in row if cell != 0]
        if bar:
            bars.append(bar)
    # 2. Sort them by length, the shortest first.
    bars.sort(key=len)
    # 3. Fill each bar with 0 on its left up to the width of the grid.
    rows = [[0] * (width - len(bar)) + bar for bar in bars]
    # 4. Put empty rows above them up to the height of the grid.
    empty = [[0] * width for r in range(height - len(rows))]
    result = empty + rows
    return result
