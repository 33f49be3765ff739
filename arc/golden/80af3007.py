def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input has one figure of one color on a background: the most common color on the border.
    2. The figure is a small pattern, scaled up: each cell of the pattern is a block.
    3. A block is as large as the pattern. So a 3x3 pattern has 3x3 blocks, and the figure has 9x9
       cells.
    4. The output is as large as the figure, with the same colors.
    5. In the output each block of the figure is replaced by a copy of the small pattern.
    Procedure:
    1. Find the background, and the first and the last row and column of the figure.
    2. The height of the pattern is the number whose square is the height of the figure. Its width
       is found in the same way.
    3. Read the pattern: take the first cell of each block.
    4. Make an output of background as large as the figure.
    5. Copy the pattern into each block that is a cell of the pattern.
    """
    # 1. Find the background, and the first and the last row and column of the figure.
    border = grid[0] + grid[-1] + [row[0] for row in grid] + [row[-1] for row in grid]
    background = max(border, key=border.count)
    rows = [r for r in range(len(grid)) if set(grid[r]) != {background}]
    columns = [c for c in range(len(grid[0])) if any(row[c] != background for row in grid)]
    # 2. The height of the pattern is the number whose square is the height of the figure. Its
    #    width is found in the same way.
    height = rows[-1] - rows[0] + 1
    width = columns[-1] - columns[0] + 1
    pattern_height = 1
    while pattern_height**2 < height:
        pattern_height += 1
    pattern_width = 1
    while pattern_width**2 < width:
        pattern_width += 1
    # 3. Read the pattern: take the first cell of each block.
    pattern = []
    for r in range(pattern_height):
        row = grid[rows[0] + r * pattern_height]
        pattern.append([row[columns[0] + c * pattern_width] for c in range(pattern_width)])
    # 4. Make an output of background as large as the figure.
    output = [[background] * width for _ in range(height)]
    # 5. Copy the pattern into each block that is a cell of the pattern.
    for r in range(height):
        for c in range(width):
            block = pattern[r // pattern_height][c // pattern_width]
            cell = pattern[r % pattern_height][c % pattern_width]
            if block != background and cell != background:
                output[r][c] = cell
    result = output
    return result
