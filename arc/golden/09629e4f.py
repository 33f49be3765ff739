def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. Full rows and full columns of one color, the lines, cut the grid into tiles. There are as
       many rows of tiles as a tile has rows of cells, and as many columns of tiles as a tile has
       columns of cells.
    3. The background is the most common color between the lines. Each tile has some colored cells
       on it. One tile has fewer of them than each other tile.
    4. The lines stay the same. Each tile of the output has only one color.
    5. The output shows the tile with the fewest colored cells, enlarged: each of its cells fills
       the tile at the same place.
    Procedure:
    1. Find the first row and the first column that have only one color. They are lines, and their
       numbers are the height and the width of a tile.
    2. Find the background: the most common color of the cells that are on no line.
    3. Count the colored cells of each tile, and take the tile with the fewest.
    4. Fill each tile of the grid with the cell at the same place in this tile.
    """
    # 1. Find the first row and the first column that have only one color. They are lines, and
    #    their numbers are the height and the width of a tile.
    high = 0
    while len(set(grid[high])) > 1:
        high += 1
    wide = 0
    while len({row[wide] for row in grid}) > 1:
        wide += 1
    places = []
    for r in range(len(grid)):
        for c in range(len(grid[0])):
            if r % (high + 1) < high and c % (wide + 1) < wide:
                places.append((r, c))
    # 2. Find the background: the most common color of the cells that are on no line.
    cells = [grid[r][c] for r, c in places]
    background = max(set(cells), key=cells.count)
    # 3. Count the colored cells of each tile, and take the tile with the fewest.
    counts = {}
    for r, c in places:
        tile = (r // (high + 1), c // (wide + 1))
        counts[tile] = counts.get(tile, 0) + (grid[r][c] != background)
    tile_r, tile_c = min(counts, key=counts.get)
    # 4. Fill each tile of the grid with the cell at the same place in this tile.
    output = [list(row) for row in grid]
    for r, c in places:
        y = tile_r * (high + 1) + r // (high + 1)
        x = tile_c * (wide + 1) + c // (wide + 1)
        output[r][c] = grid[y][x]
    result = output
    return result
