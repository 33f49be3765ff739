def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is the most common color.
    2. There are rectangles of two colors: an inner rectangle of the core color and an outline of
       the frame color, one cell thick.
    3. In the output the two colors of each rectangle have changed places.
    4. The rectangle has also grown: on each of the four sides there is a new block of the frame
       color. The blocks above and below are as wide as the rectangle and as high as the inner
       rectangle. Those to the left and right are as high as the rectangle and as wide as the inner
       one.
    5. The corners between the new blocks stay background. Nothing covers anything else.
    Procedure:
    1. Find the background: the most common color.
    2. Find the rectangles: cells that are not background and are joined by their sides.
    3. The frame color is that of the top left cell, the core color is that of the cell below and
       right of it. The inner rectangle is 2 cells less high and less wide than the rectangle.
    4. Swap the two colors in the rectangle.
    5. Draw the blocks above, below, left and right of it in the frame color. Leave out what is
       outside of the grid.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    all_cells = [cell for row in grid for cell in row]
    background = max(set(all_cells), key=all_cells.count)
    # 2. Find the rectangles: cells that are not background and are joined by their sides.
    seen = set()
    output = [list(row) for row in grid]
    for start_r in range(height):
        for start_c in range(width):
            cells = []
            stack = [(start_r, start_c)]
            while stack:
                r, c = stack.pop()
                if not (0 <= r < height and 0 <= c < width):
                    continue
                if (r, c) in seen or grid[r][c] == background:
                    continue
                seen.add((r, c))
                cells.append((r, c))
                stack += [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]
            if not cells:
                continue
            # 3. The frame color is that of the top left cell, the core color is that of the cell
            #    below and right of it. The inner rectangle is 2 cells less high and less wide than
            #    the rectangle.
            top, left = min(cells)
            bottom, right = max(cells)
            frame = grid[top][left]
            core = grid[top + 1][left + 1]
            inner_height = bottom - top - 1
            inner_width = right - left - 1
            # 4. Swap the two colors in the rectangle.
            for r, c in cells:
                output[r][c] = core if grid[r][c] == frame else frame
            # 5. Draw the blocks above, below, left and right of it in the frame color. Leave out
            #    what is outside of the grid.
            for r in range(top - inner_height, bottom + inner_height + 1):
                for c in range(left - inner_width, right + inner_width + 1):
                    beside = top <= r <= bottom
                    above_or_below = left <= c <= right
                    if beside != above_or_below and 0 <= r < height and 0 <= c < width:
                        output[r][c] = frame
    result = output
    return result
