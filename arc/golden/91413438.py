def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input is a small pattern of 0 and one other color, with some cells of each.
    2. The output is larger. Count the cells of 0 in the input: the output is so many times as high
       and so many times as wide as the input.
    3. The output consists of blocks of the size of the input: some are copies of the input, the
       others are all 0.
    4. There are as many copies as cells of the other color. They fill the output row by row, from
       the top left. There is room for all of them.
    Procedure:
    1. Count the cells of 0 and the other cells.
    2. Make an empty output of 0 with as many blocks in each direction as there are cells of 0.
    3. Number the blocks from left to right and from top to bottom. Take as many of them as there
       are other cells.
    4. Draw the pattern into each of these blocks.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Count the cells of 0 and the other cells.
    cells = [cell for row in grid for cell in row]
    zeros = cells.count(0)
    others = len(cells) - zeros
    # 2. Make an empty output of 0 with as many blocks in each direction as there are cells of 0.
    output = [[0] * (width * zeros) for r in range(height * zeros)]
    # 3. Number the blocks from left to right and from top to bottom. Take as many of them as there
    #    are other cells.
    for number in range(min(others, zeros * zeros)):
        top = number // zeros * height
        left = number % zeros * width
        # 4. Draw the pattern into each of these blocks.
        for r in range(height):
            for c in range(width):
                output[top + r][left + c] = grid[r][c]
    result = output
    return result
