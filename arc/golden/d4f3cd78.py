def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is the most common color.
    2. There is one box: the outline of a rectangle in one color, with a gap of one or more cells
       side by side in one of its sides, not at a corner.
    3. In the output the inside of the box and the gap are 8.
    4. From the gap 8 goes straight on, away from the box, to the border of the grid.
    Procedure:
    1. Find the first and last row and column of the outline.
    2. Color the background cells between them with 8.
    3. The gap are those of them that are on the outline itself.
    4. The direction is up if the gap is in the first row, down in the last row, left in the first
       column, right in the last column.
    5. From the gap go in this direction to the border and color the cells with 8.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the first and last row and column of the outline.
    all_cells = [cell for row in grid for cell in row]
    background = max(set(all_cells), key=all_cells.count)
    positions = [(r, c) for r in range(height) for c in range(width)]
    outline = [(r, c) for r, c in positions if grid[r][c] != background]
    top = min(r for r, c in outline)
    bottom = max(r for r, c in outline)
    left = min(c for r, c in outline)
    right = max(c for r, c in outline)
    output = [list(row) for row in grid]
    for r in range(top, bottom + 1):
        for c in range(left, right + 1):
            # 2. Color the background cells between them with 8.
            if grid[r][c] != background:
                continue
            output[r][c] = 8
            # 3. The gap are those of them that are on the outline itself.
            # 4. The direction is up if the gap is in the first row, down in the last row, left in
            #    the first column, right in the last column.
            down = (r == bottom) - (r == top)
            across = (c == right) - (c == left)
            if not (down or across):
                continue
            # 5. From the gap go in this direction to the border and color the cells with 8.
            y, x = r, c
            while 0 <= y < height and 0 <= x < width:
                output[y][x] = 8
                y += down
                x += across
    result = output
    return result
