def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. Full rows and full columns of one color, the lines, cut the grid into tiles.
    3. The background is the most common color, and there are dots of one more color in the tiles.
    4. In the output the dots are gone. One tile, or a few tiles, are filled with the color of the
       dots.
    5. These are the tiles with the most dots. If several tiles have the same largest number of
       dots, all of them are filled.
    Procedure:
    1. Find the lines: rows and columns of one color that is not background.
    2. For each cell that is on no line count the line rows above it and the line columns to its
       left: these two numbers name its tile.
    3. Count the dots of each tile.
    4. Find the largest of these counts.
    5. Color the cells of the tiles with this count with the color of the dots, and the cells of all
       other tiles with background.
    """
    height = len(grid)
    width = len(grid[0])
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)
    # 1. Find the lines: rows and columns of one color that is not background.
    columns = [[row[c] for row in grid] for c in range(width)]
    line_rows = [r for r in range(height) if len(set(grid[r])) == 1 and grid[r][0] != background]
    line_columns = []
    for c in range(width):
        if len(set(columns[c])) == 1 and grid[0][c] != background:
            line_columns.append(c)
    # 2. For each cell that is on no line count the line rows above it and the line columns to its
    #    left: these two numbers name its tile.
    tiles = {}
    for r in range(height):
        for c in range(width):
            if r not in line_rows and c not in line_columns:
                above = len([row for row in line_rows if row < r])
                left = len([column for column in line_columns if column < c])
                tiles[(r, c)] = (above, left)
    # 3. Count the dots of each tile.
    counts = dict.fromkeys(tiles.values(), 0)
    dot = background
    for r, c in tiles:
        if grid[r][c] != background:
            counts[tiles[(r, c)]] += 1
            dot = grid[r][c]
    # 4. Find the largest of these counts.
    most = max(counts.values())
    # 5. Color the cells of the tiles with this count with the color of the dots, and the cells of
    #    all other tiles with background.
    output = [list(row) for row in grid]
    for r, c in tiles:
        output[r][c] = dot if counts[tiles[(r, c)]] == most else background
    result = output
    return result
