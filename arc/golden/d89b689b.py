def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is the most common color.
    2. There is one 2x2 block of one color and four single cells of other colors.
    3. Each of the single cells lies nearest to another corner of the block.
    4. In the output the single cells are gone, and the block consists of their four colors.
    5. Each corner of the block has the color of the single cell that was nearest to it.
    Procedure:
    1. Find the background: the most common color.
    2. Find the block: a 2x2 square of one color that is not background.
    3. Start with an empty grid.
    4. For each single cell: if its row is at or above the first row of the block, the new row is
       the first row of the block, else the second one.
    5. Find the new column in the same way: at or to the left of the first column, or not.
    6. Color the cell at the new place.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)
    # 2. Find the block: a 2x2 square of one color that is not background.
    block = []
    for r in range(height - 1):
        for c in range(width - 1):
            square = [(r, c), (r, c + 1), (r + 1, c), (r + 1, c + 1)]
            if len({grid[y][x] for y, x in square}) == 1 and grid[r][c] != background:
                block = square
    top, left = block[0]
    # 3. Start with an empty grid.
    output = [[background] * width for row in grid]
    for r in range(height):
        for c in range(width):
            if grid[r][c] == background or (r, c) in block:
                continue
            # 4. For each single cell: if its row is at or above the first row of the block, the
            #    new row is the first row of the block, else the second one.
            new_r = top if r <= top else top + 1
            # 5. Find the new column in the same way: at or to the left of the first column, or not.
            new_c = left if c <= left else left + 1
            # 6. Color the cell at the new place.
            output[new_r][new_c] = grid[r][c]
    result = output
    return result
