def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. On the background, the most common color, there is the outline of a rectangle in one color.
       One of its four sides has a gap, not at a corner.
    3. The inside of the rectangle and the gap become 4.
    4. From the gap 4 streams out: straight away from the rectangle to the border of the grid, as
       wide as the gap.
    5. Two diagonal lines of 4 begin at the two end cells of the gap. They go outward and away from
       the gap, up to the border.
    Procedure:
    1. Find the first and last row and column of the outline.
    2. Color the background cells between them with 4. Those on the first or last row or column are
       the gap.
    3. Find the direction out of the gap: up if it is in the first row, down in the last row, left
       in the first column, right in the last column.
    4. From each cell of the gap go in this direction and color the cells with 4 until the border.
    5. From the first and from the last cell of the gap go diagonally: in this direction and at the
       same time away from the gap. Color the cells with 4 until the border.
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
    # 2. Color the background cells between them with 4. Those on the first or last row or column
    #    are the gap.
    output = [list(row) for row in grid]
    gap = []
    for r in range(top, bottom + 1):
        for c in range(left, right + 1):
            if grid[r][c] == background:
                output[r][c] = 4
                if r in (top, bottom) or c in (left, right):
                    gap.append((r, c))
    # 3. Find the direction out of the gap: up if it is in the first row, down in the last row,
    #    left in the first column, right in the last column.
    r, c = gap[0]
    down = -1 if r == top else int(r == bottom)
    across = -1 if c == left else int(c == right)
    # 4. From each cell of the gap go in this direction and color the cells with 4 until the border.
    walks = [(r, c, down, across) for r, c in gap]
    # 5. From the first and from the last cell of the gap go diagonally: in this direction and at
    #    the same time away from the gap. Color the cells with 4 until the border.
    for (r, c), away in ((gap[0], -1), (gap[-1], 1)):
        walks.append((r, c, down if down else away, across if across else away))
    for r, c, step_r, step_c in walks:
        while 0 <= r < height and 0 <= c < width:
            output[r][c] = 4
            r += step_r
            c += step_c
    result = output
    return result
