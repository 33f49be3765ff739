def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size; the background is the most common color.
    2. Height and width are odd.
    3. The input has a few single cells of other colors, at odd distances from the edges: a cell in
       the outermost row or column has distance 0.
    4. In the output each of these cells is there four times, mirrored left and right and up and
       down.
    5. A cell that is as far from the nearest edge above or below as from the nearest edge at left
       or right gets no more than these copies.
    6. A cell nearer to the edge above or below is joined with its mirror image in the same row by a
       dotted line: every second cell between them gets the color.
    7. A cell nearer to the edge at left or right is joined in the same way with its mirror image in
       the same column.
    8. The copies and lines of different cells do not meet.
    Procedure:
    1. Find the background: the most common color.
    2. For each cell that is not background, find its distance from the nearest edge above or below
       and from the nearest edge at left or right.
    3. Color the four cells with the same two distances.
    4. If the first distance is smaller, color every second cell between them in both rows.
    5. If the second distance is smaller, color every second cell between them in both columns.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    flat = [cell for row in grid for cell in row]
    background = max(set(flat), key=flat.count)
    output = [row[:] for row in grid]
    for r in range(height):
        for c in range(width):
            color = grid[r][c]
            if color == background:
                continue
            # 2. For each cell that is not background, find its distance from the nearest edge above
            #    or below and from the nearest edge at left or right.
            top = min(r, height - 1 - r)
            left = min(c, width - 1 - c)
            bottom = height - 1 - top
            right = width - 1 - left
            # 3. Color the four cells with the same two distances.
            for y in (top, bottom):
                for x in (left, right):
                    output[y][x] = color
            # 4. If the first distance is smaller, color every second cell between them in both
            #    rows.
            if top < left:
                for x in range(left, right, 2):
                    output[top][x] = color
                    output[bottom][x] = color
            # 5. If the second distance is smaller, color every second cell between them in both
            #    columns.
            if left < top:
                for y in range(top, bottom, 2):
                    output[y][left] = color
                    output[y][right] = color
    result = output
    return result
