def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color.
    3. The input has vertical bars of one color, one column wide, that stand on the last row.
    4. The highest bars become 1, the next highest become 2, and so on. Bars of the same height get
       the same color.
    Procedure:
    1. Find the background.
    2. Count the colored cells of each column.
    3. List the different numbers that are not 0, and sort them, the largest first.
    4. Color the bar of each column with the place of its number in this list.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    # 2. Count the colored cells of each column.
    counts = []
    for c in range(width):
        column = [row[c] for row in grid]
        counts.append(height - column.count(background))
    # 3. List the different numbers that are not 0, and sort them, the largest first.
    heights = sorted(set(counts) - {0}, reverse=True)
    # 4. Color the bar of each column with the place of its number in this list.
    output = [list(row) for row in grid]
    for r in range(height):
        for c in range(width):
            if grid[r][c] != background:
                output[r][c] = heights.index(counts[c]) + 1
    result = output
    return result
