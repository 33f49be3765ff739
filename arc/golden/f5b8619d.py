def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output is twice as high and twice as wide as the input.
    2. The most common color of the input is the background; some cells have other colors.
    3. The output consists of four equal copies of a tile, which has the size of the input.
    4. The tile is the input, with one change: in each column that has a colored cell, all
       background cells have become 8.
    Procedure:
    1. Find the background.
    2. List the columns with a colored cell.
    3. Make the tile: a copy of the input, with 8 for the background cells of these columns.
    4. Write the tile twice side by side, and these rows twice below each other.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [value for row in grid for value in row]
    background = max(set(cells), key=cells.count)
    # 2. List the columns with a colored cell.
    columns = []
    for c in range(width):
        if any(grid[r][c] != background for r in range(height)):
            columns.append(c)
    # 3. Make the tile: a copy of the input, with 8 for the background cells of these columns.
    tile = [list(row) for row in grid]
    for r in range(height):
        for c in columns:
            if grid[r][c] == background:
                tile[r][c] = 8
    # 4. Write the tile twice side by side, and these rows twice below each other.
    output = []
    for r in range(2 * height):
        row = tile[r % height]
        output.append(row + row)
    result = output
    return result
