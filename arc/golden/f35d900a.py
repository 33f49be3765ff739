def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size; the background is the most common color.
    2. The input has four single cells, the corners of a rectangle.
    3. They have two colors; corners at opposite ends of a diagonal have the same color.
    4. In the output there is a ring of eight cells around each corner, in the color of the corners
       at the other ends of its row and column.
    5. Along the four sides of the rectangle there are dots of color 5: from each corner, every
       second cell towards the next corner, up to the middle between the two.
    Procedure:
    1. Find the background and the four corners.
    2. For each corner, find the two corners in its row and in its column.
    3. Go from the corner towards each of them in steps of two cells, no further than half the
       distance, and color each cell reached with 5.
    4. After that, color the eight cells around each corner with the color of the other corner in
       its row, where they are in the grid.
    5. Restore the corners.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background and the four corners.
    flat = [cell for row in grid for cell in row]
    background = max(set(flat), key=flat.count)
    corners = [(r, c) for r in range(height) for c in range(width) if grid[r][c] != background]
    output = [row[:] for row in grid]
    # 2. For each corner, find the two corners in its row and in its column.
    for r, c in corners:
        for y, x in corners:
            if (r == y) == (c == x):
                continue
            # 3. Go from the corner towards each of them in steps of two cells, no further than half
            #    the distance, and color each cell reached with 5.
            distance = abs(y - r) + abs(x - c)
            row_step, column_step = (y - r) // distance, (x - c) // distance
            for step in range(2, distance // 2 + 1, 2):
                output[r + step * row_step][c + step * column_step] = 5
    # 4. After that, color the eight cells around each corner with the color of the other corner in
    #    its row, where they are in the grid.
    for r, c in corners:
        other = [grid[y][x] for y, x in corners if y == r and x != c][0]
        for y in range(max(r - 1, 0), min(r + 2, height)):
            for x in range(max(c - 1, 0), min(c + 2, width)):
                output[y][x] = other
    # 5. Restore the corners.
    for r, c in corners:
        output[r][c] = grid[r][c]
    result = output
    return result
