def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input has only one color besides 0.
    2. The output is made of blocks, one for each cell of the input.
    3. Each block is as large as the input, so a 3x3 input gives a 9x9 output.
    4. A block is a copy of the input if its cell is not 0, else it is all 0.
    Procedure:
    1. Make an output of zeros that has room for one block for each cell.
    2. For each cell that is not 0, copy the input into its block.
    """
    # 1. Make an output of zeros that has room for one block for each cell.
    height = len(grid)
    width = len(grid[0])
    output = [[0] * (width * width) for _ in range(height * height)]
    # 2. For each cell that is not 0, copy the input into its block.
    for r in range(height * height):
        for c in range(width * width):
            if grid[r // height][c // width] != 0:
                output[r][c] = grid[r % height][c % width]
    result = output
    return result
