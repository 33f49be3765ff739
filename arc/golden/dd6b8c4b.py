def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The colors are 2, 3, 6, 7 and 9.
    2. There is one 3x3 block: eight cells of 3 around a cell of 2.
    3. Cells of 6 are walls, cells of 7 are free ground, and there are some cells of 9.
    4. Some cells of 9 have become 7, and as many cells of the block have become 9.
    5. The cells that become 7 can be reached from the block by steps up, down, left and right over
       cells of 7 and 9, without walls.
    6. At most 9 cells can go, as many as the block has. The nearest ones, by steps, go first.
    7. The cells of the block become 9 row by row, from the top left.
    Procedure:
    1. Find the cells of the block.
    2. Spread from the block in waves: the first wave are all cells of 7 and 9 next to the block,
       the next one all new cells of 7 and 9 next to these, and so on.
    3. Collect the cells of 9 in the order of the waves, in one wave row by row. Take the first 9.
    4. Color these cells with 7.
    5. Color as many cells of the block with 9, row by row.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the cells of the block.
    positions = [(r, c) for r in range(height) for c in range(width)]
    block = [(r, c) for r, c in positions if grid[r][c] in (2, 3)]
    # 2. Spread from the block in waves: the first wave are all cells of 7 and 9 next to the block,
    #    the next one all new cells of 7 and 9 next to these, and so on.
    reached = set(block)
    wave = list(block)
    found = []
    while wave:
        next_wave = set()
        for r, c in wave:
            for y, x in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)):
                inside = 0 <= y < height and 0 <= x < width
                if inside and grid[y][x] in (7, 9) and (y, x) not in reached:
                    next_wave.add((y, x))
        wave = sorted(next_wave)
        reached |= next_wave
        # 3. Collect the cells of 9 in the order of the waves, in one wave row by row. Take the
        #    first 9.
        found += [(r, c) for r, c in wave if grid[r][c] == 9]
    taken = found[: len(block)]
    output = [list(row) for row in grid]
    # 4. Color these cells with 7.
    for r, c in taken:
        output[r][c] = 7
    # 5. Color as many cells of the block with 9, row by row.
    for r, c in block[: len(taken)]:
        output[r][c] = 9
    result = output
    return result
