def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The height of the output is the height of the input multiplied by itself, and the width of
       the output is the width of the input multiplied by itself.
    2. The output consists of blocks of the size of the input, one for each cell of the input.
    3. Each block is a copy of the input or all 0.
    4. A block is a copy where the input has 2 at the place of the block.
    Procedure:
    1. Make an empty output of 0 of this size.
    2. Go through the cells of the input that are 2.
    3. Draw the input into the block at the same place.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Make an empty output of 0 of this size.
    output = [[0] * (width * width) for r in range(height * height)]
    for block_r in range(height):
        for block_c in range(width):
            # 2. Go through the cells of the input that are 2.
            if grid[block_r][block_c] != 2:
                continue
            # 3. Draw the input into the block at the same place.
            for r in range(height):
                for c in range(width):
                    output[block_r * height + r][block_c * width + c] = grid[r][c]
    result = output
    return result
