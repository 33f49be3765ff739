def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input is a row of square blocks side by side, or a stack of them one above the other.
    2. The side of a block is the shorter side of the input.
    3. All blocks but one are symmetric: they stay the same when rows and columns are swapped, so
       that they are mirrored at the diagonal from the top left to the bottom right.
    4. The output is the block that is not symmetric.
    Procedure:
    1. Cut the input into square blocks.
    2. Swap the rows and the columns of each block.
    3. Return the block that differs from its swapped copy.
    """
    height = len(grid)
    width = len(grid[0])
    size = min(height, width)
    output = grid
    # 1. Cut the input into square blocks.
    for top in range(0, height, size):
        for left in range(0, width, size):
            block = [row[left : left + size] for row in grid[top : top + size]]
            # 2. Swap the rows and the columns of each block.
            swapped = [list(column) for column in zip(*block)]
            # 3. Return the block that differs from its swapped copy.
            if swapped != block:
                output = block
    result = output
    return result
