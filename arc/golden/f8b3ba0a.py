def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output is one column wide.
    2. The input has rows and columns of blocks of equal size, each of one color.
    3. Between the blocks and at the edges are lines of the background color, no block has it.
    4. One color is that of most blocks; a few other blocks have other colors.
    5. The output lists these other colors, that of the most blocks at the top.
    6. No two of them have the same number of blocks.
    Procedure:
    1. The background is the color of the top left cell.
    2. Count the cells of each color that is not the background; the blocks are equally large, so
       more cells mean more blocks.
    3. Sort the colors by their counts, the largest first.
    4. Drop the first color of this list, which is that of most blocks.
    5. Make the output of the others, one below the other.
    """
    # 1. The background is the color of the top left cell.
    background = grid[0][0]
    # 2. Count the cells of each color that is not the background; the blocks are equally large, so
    #    more cells mean more blocks.
    counts = {}
    for row in grid:
        for cell in row:
            if cell != background:
                counts[cell] = counts.get(cell, 0) + 1
    # 3. Sort the colors by their counts, the largest first.
    colors = sorted(counts, key=counts.get, reverse=True)
    # 4. Drop the first color of this list, which is that of most blocks.
    others = colors[1:]
    # 5. Make the output of the others, one below the other.
    result = [[color] for color in others]
    return result
