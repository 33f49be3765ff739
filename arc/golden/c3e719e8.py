def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input is a square without a 0, and one color is its most common color.
    2. The output is made of blocks, one for each cell of the input.
    3. Each block is as large as the input, so a 3x3 input gives a 9x9 output.
    4. The block of a cell is a copy of the input if the cell has the most common color.
    5. All other blocks are all 0.
    Procedure:
    1. Find the most common color.
    2. Make an output of zeros with room for one block for each cell.
    3. For each cell with the most common color, copy the input into its block.
    """
    # 1. Find the most common color.
    cells = [cell for row in grid for cell in row]
    color = max(cells, key=cells.count)
    # 2. Make an output of zeros with room for one block for each cell.
    height = len(grid)
    width = len(grid[0])
    output = [[0] * (width * width) for _ in range(height * height)]
    # 3. For each cell with the most common color, copy the input into its block.
    for r in range(height * height):
        for c in range(width * width):
            if grid[r // height][c // width] == color:
                output[r][c] = grid[r % height][c % width]
    result = output
    return result
