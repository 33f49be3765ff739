def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output is smaller than the input; the background is the most common color.
    2. The input has solid squares of one size and of different colors, the blocks. They are larger
       than everything else of one color.
    3. It also has small patterns of one color each, as high and as wide as the inside of a block:
       the block without its outermost cells.
    4. For each block there is one pattern of its color.
    5. The output is the part of the input with the blocks and one more row or column of background
       on each side.
    6. In it the pattern of its color is punched out of each block: where the pattern, laid on the
       inside of the block, has the color, the block becomes background.
    Procedure:
    1. Find the background: the most common color.
    2. Find all blocks: for each cell that is not background find the largest solid square of its
       color with this cell at the top left. The largest of all these squares are the blocks.
    3. For each block list the cells of its color that are not in the block: its pattern.
    4. Find the top row and the left column of the pattern. Lay it into the block so that these are
       one row below the top and one column right of the left side of the block.
    5. Make the cells of the block under the pattern background.
    6. Cut out the part with all blocks and one cell more on each side.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    flat = [cell for row in grid for cell in row]
    background = max(set(flat), key=flat.count)
    # 2. Find all blocks: for each cell that is not background find the largest solid square of its
    #    color with this cell at the top left. The largest of all these squares are the blocks.
    largest = {}
    for r in range(height):
        for c in range(width):
            side = 0
            square = {grid[r][c]}
            while len(square) == 1 and background not in square:
                side += 1
                if r + side >= height or c + side >= width:
                    break
                square |= {grid[r + side][x] for x in range(c, c + side + 1)}
                square |= {grid[y][c + side] for y in range(r, r + side + 1)}
            largest[(r, c)] = side
    block_side = max(largest.values())
    blocks = [place for place in largest if largest[place] == block_side]
    output = [row[:] for row in grid]
    for top, left in blocks:
        # 3. For each block list the cells of its color that are not in the block: its pattern.
        pattern = []
        for r in range(height):
            for c in range(width):
                in_block = 0 <= r - top < block_side and 0 <= c - left < block_side
                if grid[r][c] == grid[top][left] and not in_block:
                    pattern.append((r, c))
        # 4. Find the top row and the left column of the pattern. Lay it into the block so that
        #    these are one row below the top and one column right of the left side of the block.
        first_row, first_column = min(r for r, c in pattern), min(c for r, c in pattern)
        for r, c in pattern:
            # 5. Make the cells of the block under the pattern background.
            output[top + 1 + r - first_row][left + 1 + c - first_column] = background
    # 6. Cut out the part with all blocks and one cell more on each side.
    first_row = min(r for r, c in blocks) - 1
    last_row = max(r for r, c in blocks) + block_side
    first_column = min(c for r, c in blocks) - 1
    last_column = max(c for r, c in blocks) + block_side
    result = [row[first_column:last_column + 1] for row in output[first_row:last_row + 1]]
    return result
