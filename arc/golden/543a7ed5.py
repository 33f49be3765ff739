def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size; the background is the most common color.
    2. The input has objects of other colors; some enclose background, which is then a hole.
    3. In the output the holes are 4.
    4. Around each object, on the outside, goes a line of color 3, also around its corners.
    5. All other cells stay as they are.
    Procedure:
    1. Find the background: the most common color.
    2. Mark the outside: all background cells at the edge of the grid and all background cells
       that can be reached from them by steps up, down, left and right.
    3. Give each background cell that is not outside the color 4.
    4. Give each outside cell that touches an object by a side or a corner the color 3.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    colors = [cell for row in grid for cell in row]
    background = max(set(colors), key=colors.count)
    # 2. Mark the outside: all background cells at the edge of the grid and all background cells
    #    that can be reached from them by steps up, down, left and right.
    outside = []
    for r in range(height):
        for c in range(width):
            at_edge = r in (0, height - 1) or c in (0, width - 1)
            if at_edge and grid[r][c] == background:
                outside.append((r, c))
    marked = set(outside)
    for r, c in outside:
        for y, x in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)):
            in_grid = 0 <= y < height and 0 <= x < width
            if in_grid and grid[y][x] == background and (y, x) not in marked:
                marked.add((y, x))
                outside.append((y, x))
    output = [row[:] for row in grid]
    for r in range(height):
        for c in range(width):
            if grid[r][c] != background:
                continue
            # 3. Give each background cell that is not outside the color 4.
            if (r, c) not in marked:
                output[r][c] = 4
                continue
            # 4. Give each outside cell that touches an object by a side or a corner the color 3.
            for y in range(max(r - 1, 0), min(r + 2, height)):
                for x in range(max(c - 1, 0), min(c + 2, width)):
                    if grid[y][x] != background:
                        output[r][c] = 3
    result = output
    return result
