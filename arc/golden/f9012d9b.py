def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input is a pattern that repeats in both directions, with a rectangle of 0 in it.
    2. The pattern itself has no 0: the rectangle hides a part of it.
    3. The output has the size of the rectangle.
    4. It is the hidden part of the pattern.
    5. The pattern consists of equal tiles, starting at the top left cell. Tiles at the border can
       be cut off.
    Procedure:
    1. Try all heights and widths of a tile, the tiles with the fewest cells first.
    2. Note the color of each place of the tile, from all the cells that are not 0.
    3. The size is right if no place has two colors and no place is left without a color.
    4. Find the rectangle of 0. Give each of its cells the color of its place in the tile.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Try all heights and widths of a tile, the tiles with the fewest cells first.
    sizes = [(high, wide) for high in range(1, height + 1) for wide in range(1, width + 1)]
    sizes.sort(key=lambda size: size[0] * size[1])
    good = []
    for high, wide in sizes:
        # 2. Note the color of each place of the tile, from all the cells that are not 0.
        tile = {}
        for r in range(height):
            for c in range(width):
                if grid[r][c] != 0:
                    tile.setdefault((r % high, c % wide), set()).add(grid[r][c])
        # 3. The size is right if no place has two colors and no place is left without a color.
        one_color = all(len(colors) == 1 for colors in tile.values())
        if one_color and len(tile) == high * wide:
            good.append((high, wide, tile))
    high, wide, tile = good[0]
    # 4. Find the rectangle of 0. Give each of its cells the color of its place in the tile.
    rows = [r for r in range(height) if 0 in grid[r]]
    columns = [c for c in range(width) if 0 in [row[c] for row in grid]]
    hidden = [[min(tile[(r % high, c % wide)]) for c in columns] for r in rows]
    result = hidden
    return result
