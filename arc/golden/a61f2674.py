def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is the most common
       color.
    2. The input has vertical bars of one color. They are one cell wide, stand on the last row and
       do not touch each other. (Bars that lie in rows and start at a side border work as well.)
    3. One bar is longer than all others, and one bar is shorter than all others.
    4. In the output the longest bar is 1 and the shortest bar is 2.
    5. All the other bars are gone.
    Procedure:
    1. Find the background: the most common color.
    2. Find the bars: the other cells that are joined by their sides.
    3. Make an output full of background.
    4. Color the bar with the fewest cells with 2.
    5. Color the bar with the most cells with 1.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    all_cells = [cell for row in grid for cell in row]
    background = max(set(all_cells), key=all_cells.count)
    # 2. Find the bars: the other cells that are joined by their sides.
    seen = set()
    bars = []
    for start_r in range(height):
        for start_c in range(width):
            bar = []
            stack = [(start_r, start_c)]
            while stack:
                r, c = stack.pop()
                if not (0 <= r < height and 0 <= c < width):
                    continue
                if (r, c) in seen or grid[r][c] == background:
                    continue
                seen.add((r, c))
                bar.append((r, c))
                stack += [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]
            if bar:
                bars.append(bar)
    # 3. Make an output full of background.
    output = [[background] * width for r in range(height)]
    # 4. Color the bar with the fewest cells with 2.
    for r, c in min(bars, key=len):
        output[r][c] = 2
    # 5. Color the bar with the most cells with 1.
    for r, c in max(bars, key=len):
        output[r][c] = 1
    result = output
    return result
