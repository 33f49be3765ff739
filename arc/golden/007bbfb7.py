def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input is 3x3 and the output is 9x9.
    2. The input has only one color besides 0.
    3. The output is made of 3x3 blocks, one for each cell of the input.
    4. A block is a copy of the input if its cell is not 0, else it is all 0.
    Procedure:
    1. Make an output of zeros, 3 times as high and wide.
    2. For each cell that is not 0, copy the input into its block.
    """
    # 1. Make an output of zeros, 3 times as high and wide.
    output = [[0] * 9 for _ in range(9)]
    # 2. For each cell that is not 0, copy the input into its block.
    for r in range(9):
        for c in range(9):
            if grid[r // 3][c // 3] != 0:
                output[r][c] = grid[r % 3][c % 3]
    result = output
    return result
