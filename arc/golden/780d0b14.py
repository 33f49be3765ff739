def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output is much smaller than the input.
    2. Full rows and full columns of the background color cut the input into parts.
    3. Each part has one more color with many background cells between, like noise.
    4. The output has one cell for each part: its color, in the same arrangement.
    Procedure:
    1. Find the rows and the columns that have only one color. The most common color of them is
       the background, and those of the background are the gaps.
    2. Find the ranges of rows between the gaps, and the ranges of columns.
    3. For each range of rows make a row of the output. For each range of columns put into it the
       color of the part that is not the background.
    """
    height = len(grid)
    width = len(grid[0])

    def ranges(gaps, size):
        starts = [0] + [gap + 1 for gap in gaps]
        ends = [*gaps, size]
        return [(start, end) for start, end in zip(starts, ends, strict=True) if start < end]

    # 1. Find the rows and the columns that have only one color. The most common color of them is
    #    the background, and those of the background are the gaps.
    columns = [[row[c] for row in grid] for c in range(width)]
    full = [line[0] for line in grid + columns if len(set(line)) == 1]
    background = max(full, key=full.count)
    row_gaps = [r for r in range(height) if set(grid[r]) == {background}]
    column_gaps = [c for c in range(width) if set(columns[c]) == {background}]
    # 2. Find the ranges of rows between the gaps, and the ranges of columns.
    row_ranges = ranges(row_gaps, height)
    column_ranges = ranges(column_gaps, width)
    # 3. For each range of rows make a row of the output. For each range of columns put into it the
    #    color of the part that is not the background.
    output = []
    for top, bottom in row_ranges:
        colors = []
        for left, right in column_ranges:
            part = [cell for row in grid[top:bottom] for cell in row[left:right]]
            colors.append(min(set(part) - {background}))
        output.append(colors)
    result = output
    return result
