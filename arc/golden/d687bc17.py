def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. Each side of the grid, without its corners, is a wall of one color; the four walls have
       different colors.
    3. The most common color inside the walls is the background. The four corner cells of the
       output have this color too.
    4. Inside the walls there are single cells of several colors on the background, the dots.
    5. In the output each dot with the color of a wall has moved straight to this wall and
       touches it.
    6. Dots with a color that no wall has are gone.
    Procedure:
    1. Read the color of each wall, and find the background.
    2. Start with a copy of the grid that has only background inside the walls and in its corners.
    3. Draw each dot with the color of the upper or lower wall in its column, next to this wall.
    4. Draw each dot with the color of the left or right wall in its row, next to this wall.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Read the color of each wall, and find the background.
    upper = grid[0][1]
    lower = grid[-1][1]
    left = grid[1][0]
    right = grid[1][-1]
    cells = [value for row in grid[1:-1] for value in row[1:-1]]
    background = max(set(cells), key=cells.count)
    # 2. Start with a copy of the grid that has only background inside the walls and in its
    # corners.
    output = [list(row) for row in grid]
    for r in range(height):
        for c in range(width):
            on_side = r in (0, height - 1)
            on_end = c in (0, width - 1)
            if on_side == on_end:
                output[r][c] = background
    for r in range(1, height - 1):
        for c in range(1, width - 1):
            color = grid[r][c]
            # 3. Draw each dot with the color of the upper or lower wall in its column, next to
            # this wall.
            if color == upper:
                output[1][c] = color
            if color == lower:
                output[height - 2][c] = color
            # 4. Draw each dot with the color of the left or right wall in its row, next to this
            # wall.
            if color == left:
                output[r][1] = color
            if color == right:
                output[r][width - 2] = color
    result = output
    return result
