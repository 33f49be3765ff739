def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. It is a square, and its side is the square of a
       whole number, as 9 = 3 times 3. This number is the size of a block.
    2. The background is the most common color. All the cells of another color lie in one block:
       this is the pattern.
    3. The grid has as many rows and columns of blocks as a block has rows and columns of cells.
    4. In the output a block holds the pattern where the pattern itself has a color at the place of
       the block. The other blocks are empty.
    Procedure:
    1. Find the size of a block: the number that gives the side when it is multiplied by itself.
    2. Find the background: the most common color.
    3. Find the block with colored cells and cut out the pattern.
    4. Make an empty output.
    5. For each colored cell of the pattern take the block at the same place in the grid of blocks,
       and draw the pattern there.
    """
    side = len(grid)
    # 1. Find the size of a block: the number that gives the side when it is multiplied by itself.
    size = 1
    while size * size < side:
        size += 1
    # 2. Find the background: the most common color.
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)
    # 3. Find the block with colored cells and cut out the pattern.
    pattern = [[background] * size for r in range(size)]
    for top in range(0, side, size):
        for left in range(0, side, size):
            block = [row[left : left + size] for row in grid[top : top + size]]
            if any(cell != background for row in block for cell in row):
                pattern = block
    # 4. Make an empty output.
    output = [[background] * side for r in range(side)]
    # 5. For each colored cell of the pattern take the block at the same place in the grid of
    #    blocks, and draw the pattern there.
    for block_r in range(size):
        for block_c in range(size):
            if pattern[block_r][block_c] == background:
                continue
            for r in range(size):
                for c in range(size):
                    output[block_r * size + r][block_c * size + c] = pattern[r][c]
    result = output
    return result
