def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is the most common color.
    2. The input has one or more 2x2 squares of colored cells, apart from each other.
    3. The squares stay. Around each square the output has four 2x2 blocks, each of one color. They
       touch the corners of the square from outside.
    4. Each block has the color of the cell of the square that is farthest from it, at the opposite
       corner.
    5. Parts of blocks that would lie outside of the grid are left out.
    Procedure:
    1. Find the background. A cell of another color with background or the border above and to the
       left is the top left cell of a square.
    2. Go through the four cells of the square.
    3. The block of a cell lies beyond the opposite corner: two rows beyond the square, below it for
       a cell of the upper row and above it for a cell of the lower row. For the columns likewise.
    4. Color the cells of the block with the color of the cell.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background. A cell of another color with background or the border above and to the
    #    left is the top left cell of a square.
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)

    def colored(r, c):
        return r >= 0 and c >= 0 and grid[r][c] != background

    output = [list(row) for row in grid]
    for top in range(height - 1):
        for left in range(width - 1):
            if not colored(top, left) or colored(top - 1, left) or colored(top, left - 1):
                continue
            # 2. Go through the four cells of the square.
            for r in (top, top + 1):
                for c in (left, left + 1):
                    # 3. The block of a cell lies beyond the opposite corner: two rows beyond the
                    #    square, below it for a cell of the upper row and above it for a cell of
                    #    the lower row. For the columns likewise.
                    block_top = top + 2 if r == top else top - 2
                    block_left = left + 2 if c == left else left - 2
                    # 4. Color the cells of the block with the color of the cell.
                    for y in (block_top, block_top + 1):
                        for x in (block_left, block_left + 1):
                            if 0 <= y < height and 0 <= x < width:
                                output[y][x] = grid[r][c]
    result = output
    return result
