def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The input has three colors. The most common color is the background, the next one is the
       color of a shape, and the rarest is the color of a mark.
    3. The mark lies diagonally beside the shape. It is a part of a copy of the shape.
    4. This copy is the shape moved diagonally, by the same number of rows and columns, so far that
       it does not overlap the shape.
    5. The output has this copy in the color of the mark. It is repeated with the same step again
       and again, up to the border of the grid.
    Procedure:
    1. Find the three colors, and the cells of the shape and of the mark.
    2. Try steps of one cell, two cells and so on, in the four diagonal directions.
    3. Take the first step that moves the shape off itself and over the whole mark.
    4. Draw the shape in the color of the mark, moved by this step, by twice the step and so on.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the three colors, and the cells of the shape and of the mark.
    cells = [cell for row in grid for cell in row]
    colors = sorted(set(cells), key=cells.count, reverse=True)
    shape = {(r, c) for r in range(height) for c in range(width) if grid[r][c] == colors[1]}
    mark = {(r, c) for r in range(height) for c in range(width) if grid[r][c] == colors[2]}
    # 2. Try steps of one cell, two cells and so on, in the four diagonal directions.
    steps = []
    for size in range(1, max(height, width)):
        for dr, dc in ((-size, -size), (-size, size), (size, -size), (size, size)):
            # 3. Take the first step that moves the shape off itself and over the whole mark.
            moved = {(r + dr, c + dc) for r, c in shape}
            if not moved & shape and mark <= moved:
                steps.append((dr, dc))
    # 4. Draw the shape in the color of the mark, moved by this step, by twice the step and so on.
    output = [list(row) for row in grid]
    dr, dc = steps[0]
    for times in range(1, max(height, width)):
        for r, c in shape:
            y, x = r + times * dr, c + times * dc
            if 0 <= y < height and 0 <= x < width:
                output[y][x] = colors[2]
    result = output
    return result
