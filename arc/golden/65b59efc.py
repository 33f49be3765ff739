def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. Cells of 5 between them cut the input into square tiles of the same size, with some tiles in
       each of three rows of tiles. To the right and below there can be empty cells of 0.
    2. Each tile of the first row of tiles shows a shape in one color on 0.
    3. Each tile of the second row of tiles shows some places, also in one color on 0. The colors
       are those of the shapes.
    4. Each tile of the third row of tiles has one colored cell, the paint.
    5. The output is a square. Its side is the size of a tile multiplied by itself: it has a block
       of the size of a tile for each place in a tile.
    6. At the places of a tile of the second row the output has the shape that has the same color.
    7. The shape is painted with the color that stands below it in the third row. It can be far from
       the tile with the places.
    Procedure:
    1. The size of a tile is the number of cells before the first 5 in the first row.
    2. Cut out the tiles of the three rows of tiles.
    3. For each shape note its color and the paint below it.
    4. Make an empty output.
    5. For each tile of places find the shape of the same color.
    6. Draw this shape, with its paint, into the block of each colored place.
    """
    # 1. The size of a tile is the number of cells before the first 5 in the first row.
    size = grid[0].index(5)
    # 2. Cut out the tiles of the three rows of tiles.
    tiles = []
    for band in range(3):
        rows = grid[band * (size + 1) : band * (size + 1) + size]
        lefts = range(0, len(grid[0]) - size + 1, size + 1)
        tiles.append([[row[left : left + size] for row in rows] for left in lefts])

    def color_of(tile):
        return max(cell for row in tile for cell in row)

    # 3. For each shape note its color and the paint below it.
    shapes = {}
    for shape, paint_tile in zip(tiles[0], tiles[2], strict=True):
        shapes[color_of(shape)] = (shape, color_of(paint_tile))
    # 4. Make an empty output.
    output = [[0] * (size * size) for r in range(size * size)]
    # 5. For each tile of places find the shape of the same color.
    for places in tiles[1]:
        if color_of(places) == 0:
            continue
        shape, paint = shapes[color_of(places)]
        # 6. Draw this shape, with its paint, into the block of each colored place.
        for r in range(size * size):
            for c in range(size * size):
                if places[r // size][c // size] != 0 and shape[r % size][c % size] != 0:
                    output[r][c] = paint
    result = output
    return result
