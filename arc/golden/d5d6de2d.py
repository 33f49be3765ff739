def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size; the background is the most common color.
    2. The input has outlines of rectangles, one cell thick, and solid rectangles, in colors besides
       the background. They do not touch each other.
    3. In the output what an outline encloses is 3, everything else is background.
    Procedure:
    1. Find the background: the most common color.
    2. Mark the outside: all background cells at the edge of the grid, and all background cells that
       can be reached from them by steps up, down, left and right.
    3. Make an output of background.
    4. Give color 3 to each background cell of the input that is not outside.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    flat = [cell for row in grid for cell in row]
    background = max(set(flat), key=flat.count)
    # 2. Mark the outside: all background cells at the edge of the grid, and all background cells
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
    # 3. Make an output of background.
    output = [[background] * width for _ in range(height)]
    # 4. Give color 3 to each background cell of the input that is not outside.
    for r in range(height):
        for c in range(width):
            if grid[r][c] == background and (r, c) not in marked:
                output[r][c] = 3
    result = output
    return result
