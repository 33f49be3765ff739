def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. Full rows and full columns of one color, the line color, cut the grid into tiles of the
       same size.
    3. Between the lines there are a background color and one shape color. The top left cell of
       the grid is background.
    4. One tile holds a complete shape.
    5. Each other tile holds some of the cells of the same shape, or none.
    6. In the output the missing cells of the shape have the line color.
    Procedure:
    1. Find the lines: rows and columns of one color that is not the background.
    2. The number of the first line row is the height of a tile, that of the first line column is
       its width.
    3. For each cell that is not on a line find its place within its tile.
    4. Collect the places where some tile has the shape.
    5. Go through the cells again: where the place is one of these but the cell is background,
       color the cell with the line color.
    """
    height = len(grid)
    width = len(grid[0])
    background = grid[0][0]
    # 1. Find the lines: rows and columns of one color that is not the background.
    rows = [r for r in range(height) if len(set(grid[r])) == 1 and grid[r][0] != background]
    columns = []
    for c in range(width):
        if grid[0][c] != background and len({row[c] for row in grid}) == 1:
            columns.append(c)
    line = grid[rows[0]][0] if rows else grid[0][columns[0]]
    # 2. The number of the first line row is the height of a tile, that of the first line column is
    #    its width.
    tile_height = rows[0] if rows else height
    tile_width = columns[0] if columns else width
    places = {}
    for r in range(height):
        for c in range(width):
            # 3. For each cell that is not on a line find its place within its tile.
            if r not in rows and c not in columns:
                places[(r, c)] = (r % (tile_height + 1), c % (tile_width + 1))
    # 4. Collect the places where some tile has the shape.
    shape = {places[(r, c)] for r, c in places if grid[r][c] != background}
    # 5. Go through the cells again: where the place is one of these but the cell is background,
    #    color the cell with the line color.
    output = [list(row) for row in grid]
    for r, c in places:
        if places[(r, c)] in shape and grid[r][c] == background:
            output[r][c] = line
    result = output
    return result
