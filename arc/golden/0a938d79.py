def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size, and one side is longer than the other.
    2. The most common color is the background.
    3. The input has exactly two cells of other colors, at different places along the long side.
    4. In the output each of them has become a full line across the short side of the grid.
    5. The two lines are repeated along the long side, in turns and with the same distance, from
       the first one up to the end of the grid. Nothing is drawn before the first one.
    Procedure:
    1. If the grid is higher than wide, swap rows and columns, so that the long side lies flat.
    2. Find the background, and the columns and colors of the two cells, from left to right.
    3. Starting at the left column, step to the right by the distance of the two columns, and
       fill each column that is met, with the two colors in turns.
    4. If rows and columns were swapped, swap them back.
    """
    # 1. If the grid is higher than wide, swap rows and columns, so that the long side lies flat.
    swapped = len(grid) > len(grid[0])
    if swapped:
        grid = [list(column) for column in zip(*grid)]
    height = len(grid)
    width = len(grid[0])
    # 2. Find the background, and the columns and colors of the two cells, from left to right.
    cells = [value for row in grid for value in row]
    background = max(set(cells), key=cells.count)
    found = []
    for c in range(width):
        for r in range(height):
            if grid[r][c] != background:
                found.append((c, grid[r][c]))
    first_column, first_color = found[0]
    second_column, second_color = found[1]
    # 3. Starting at the left column, step to the right by the distance of the two columns, and
    # fill each column that is met, with the two colors in turns.
    output = [[background] * width for _ in range(height)]
    color = first_color
    next_color = second_color
    for c in range(first_column, width, second_column - first_column):
        for r in range(height):
            output[r][c] = color
        color, next_color = next_color, color
    # 4. If rows and columns were swapped, swap them back.
    if swapped:
        output = [list(column) for column in zip(*output)]
    result = output
    return result
