def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is the most common color.
    2. There is one row without background: a horizontal line, which is crossed by vertical bars of
       other colors. The most common color of this row is the color of the line.
    3. Each bar has one color and is one or more columns wide. It reaches above and
       below the row, equally far or nearly so.
    4. In the output the bars keep their columns and colors but have new heights.
    5. The heights of all bars are sorted: from left to right the bars get higher.
    Procedure:
    1. Find the background, and the row without background.
    2. Find the bars: columns side by side where this row has the same color, not that of the line.
    3. Measure how far each bar reaches above the row and how far it reaches below.
    4. Sort these pairs of numbers, the smallest first.
    5. Remove the bars above and below the row.
    6. Draw the bars from left to right with the sorted pairs, above and below the row.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background, and the row without background.
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)
    middle = next(r for r in range(height) if background not in grid[r])
    row = grid[middle]
    line = max(set(row), key=row.count)
    # 2. Find the bars: columns side by side where this row has the same color, not that of the
    #    line.
    bars = []
    for c in range(width):
        if row[c] != line and c > 0 and row[c] == row[c - 1]:
            bars[-1].append(c)
        elif row[c] != line:
            bars.append([c])
    # 3. Measure how far each bar reaches above the row and how far it reaches below.
    pairs = []
    for columns in bars:
        c = columns[0]
        up = 0
        while middle - up > 0 and grid[middle - up - 1][c] == row[c]:
            up += 1
        down = 0
        while middle + down < height - 1 and grid[middle + down + 1][c] == row[c]:
            down += 1
        pairs.append((up, down))
    # 4. Sort these pairs of numbers, the smallest first.
    pairs.sort()
    # 5. Remove the bars above and below the row.
    output = [[background] * width for r in range(height)]
    output[middle] = list(row)
    # 6. Draw the bars from left to right with the sorted pairs, above and below the row.
    for columns, (up, down) in zip(bars, pairs, strict=True):
        for r in range(middle - up, middle + down + 1):
            for c in columns:
                output[r][c] = row[c]
    result = output
    return result
