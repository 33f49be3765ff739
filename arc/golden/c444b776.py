def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. Full rows and full columns of one color, the lines, cut the grid into tiles of the same
       size. The background is the most common color.
    3. One tile holds a pattern of colored cells, the other tiles are empty.
    4. In the output each tile holds this pattern.
    Procedure:
    1. Find the lines: rows and columns of one color that is not the background.
    2. The number of the first line row is the height of a tile, that of the first line column is
       its width.
    3. For each cell that is not on a line find its place within its tile.
    4. Note the color of each place where some tile has another color than the background.
    5. Go through the cells again and give each the color of its place.
    """
    height = len(grid)
    width = len(grid[0])
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)
    # 1. Find the lines: rows and columns of one color that is not the background.
    rows = [r for r in range(height) if len(set(grid[r])) == 1 and grid[r][0] != background]
    columns = []
    for c in range(width):
        if len({row[c] for row in grid}) == 1 and grid[0][c] != background:
            columns.append(c)
    # 2. The number of the first line row is the height of a tile, that of the first line column is
    #    its width.
    tile_height = rows[0] if rows else height
    tile_width = columns[0] if columns else width
    places = {}
    pattern = {}
    for r in range(height):
        for c in range(width):
            # 3. For each cell that is not on a line find its place within its tile.
            if r in rows or c in columns:
                continue
            places[(r, c)] = (r % (tile_height + 1), c % (tile_width + 1))
            # 4. Note the color of each place where some tile has another color than the background.
            if grid[r][c] != background:
                pattern[places[(r, c)]] = grid[r][c]
    # 5. Go through the cells again and give each the color of its place.
    output = [list(row) for row in grid]
    for r, c in places:
        output[r][c] = pattern.get(places[(r, c)], background)
    result = output
    return result
