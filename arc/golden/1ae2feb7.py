def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is 0.
    2. There is one long vertical line of one color. It need not reach the last row.
    3. On one side of the line some rows have bars: one or more cells of one color side by side.
    4. The bars stay. The output has new cells in the same rows, on the other side of the line.
    5. Each bar repeats its color there: the first cell is directly next to the line, and the
       distance from each cell to the next one is the length of the bar.
    6. Where two bars of a row give the same cell, the bar nearer to the line wins.
    Procedure:
    1. Find the column of the line: the one that has the same color, not 0, in the most rows.
    2. For each row read the cells from the line outward, once to the left and once to the right.
    3. Collect the bars in this order: the color and the length of each.
    4. Go through the bars from the farthest to the nearest one. Starting next to the line on the
       other side, color every cell whose distance from the start is a multiple of the length.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the column of the line: the one that has the same color, not 0, in the most rows.
    line = 0
    most = 0
    for c in range(width):
        column = [row[c] for row in grid]
        for color in sorted(set(column) - {0}):
            if column.count(color) > most:
                most = column.count(color)
                line = c
    output = [list(row) for row in grid]
    for r in range(height):
        # 2. For each row read the cells from the line outward, once to the left and once to the
        #    right.
        left = list(range(line - 1, -1, -1))
        right = list(range(line + 1, width))
        for side, other in ((left, right), (right, left)):
            # 3. Collect the bars in this order: the color and the length of each.
            bars = []
            previous = 0
            for c in side:
                if grid[r][c] != 0 and grid[r][c] == previous:
                    bars[-1][1] += 1
                elif grid[r][c] != 0:
                    bars.append([grid[r][c], 1])
                previous = grid[r][c]
            # 4. Go through the bars from the farthest to the nearest one. Starting next to the
            #    line on the other side, color every cell whose distance from the start is a
            #    multiple of the length.
            for color, length in bars[::-1]:
                for c in other[::length]:
                    output[r][c] = color
    result = output
    return result
