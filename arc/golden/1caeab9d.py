def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The most common color is the background.
    3. The cells of each other color form one object. The objects all have the same height, and no
       two of them share a column.
    4. There is an object of color 1, which does not move.
    5. In the output all other objects have moved straight up or down, and lie in the same rows as
       the object of color 1.
    Procedure:
    1. Find the background.
    2. Find the first row of each color.
    3. Draw each cell of the objects so many rows further down as the first row of color 1 lies
       below the first row of the cell's color (or up, if it lies above).
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [value for row in grid for value in row]
    background = max(set(cells), key=cells.count)
    # 2. Find the first row of each color.
    first_row = {}
    for r in range(height):
        for c in range(width):
            if grid[r][c] not in first_row:
                first_row[grid[r][c]] = r
    # 3. Draw each cell of the objects so many rows further down as the first row of color 1 lies
    # below the first row of the cell's color (or up, if it lies above).
    output = [[background] * width for _ in range(height)]
    for r in range(height):
        for c in range(width):
            color = grid[r][c]
            if color == background:
                continue
            new_row = r + first_row[1] - first_row[color]
            output[new_row][c] = color
    result = output
    return result
