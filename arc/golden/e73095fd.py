def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. On the background, the most common color, there are lines of one other color: outlines of
       rectangles, like houses, and roads, which are straight lines that start at a side of a
       house, not at a corner.
    3. Some houses are cut off by the border of the grid. At least one corner is always visible.
    4. The inside of each house becomes 4. Areas between roads do not change.
    5. At a corner of a house the outline turns: the lines do not go on beyond the corner. Where two
       roads cross or meet, a line does go on.
    Procedure:
    1. Find the areas: cells of the background that are joined by their sides.
    2. An area can be the inside of a house if it fills a whole rectangle.
    3. All cells around this rectangle that are in the grid must be line cells.
    4. At least one corner of the outline must be in the grid. At each such corner the next cells
       outward, in the row and in the column, must not be line cells.
    5. Fill the area with 4.
    """
    height = len(grid)
    width = len(grid[0])
    all_cells = [cell for row in grid for cell in row]
    background = max(set(all_cells), key=all_cells.count)

    def is_line(r, c):
        return 0 <= r < height and 0 <= c < width and grid[r][c] != background

    def is_house(cells):
        # 2. An area can be the inside of a house if it fills a whole rectangle.
        rows = [r for r, c in cells]
        columns = [c for r, c in cells]
        top, bottom = min(rows) - 1, max(rows) + 1
        left, right = min(columns) - 1, max(columns) + 1
        if len(cells) != (bottom - top - 1) * (right - left - 1):
            return False
        # 3. All cells around this rectangle that are in the grid must be line cells.
        around = [(r, c) for r in range(top, bottom + 1) for c in (left, right)]
        around += [(r, c) for r in (top, bottom) for c in range(left, right + 1)]
        for r, c in around:
            if 0 <= r < height and 0 <= c < width and grid[r][c] == background:
                return False
        # 4. At least one corner of the outline must be in the grid. At each such corner the next
        #    cells outward, in the row and in the column, must not be line cells.
        corners = 0
        for r, down in ((top, -1), (bottom, 1)):
            for c, right_step in ((left, -1), (right, 1)):
                corners += is_line(r, c)
                if is_line(r, c) and (is_line(r + down, c) or is_line(r, c + right_step)):
                    return False
        return corners > 0

    # 1. Find the areas: cells of the background that are joined by their sides.
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
                if (r, c) in seen or grid[r][c] != background:
                    continue
                seen.add((r, c))
                cells.append((r, c))
                stack += [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]
            # 5. Fill the area with 4.
            if cells and is_house(cells):
                for r, c in cells:
                    output[r][c] = 4
    result = output
    return result
