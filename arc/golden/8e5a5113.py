def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The grid is a strip of square blocks of equal size, from left to right or from top to bottom.
    3. Between two neighboring blocks there is a line, one cell thick.
    4. In the input one block has a picture of several colors, the other blocks have one color only.
    5. The output has a picture in each block. Each one is that of the block before it (the one to
       the left, or above), turned by a quarter to the right, which is clockwise.
    6. The lines and the picture of the input stay as they are.
    Procedure:
    1. The side of a block is the shorter one of height and width of the grid.
    2. List the top left cells of all blocks, from the first to the last. Each block begins one cell
       after the end of the one before it, to the right if the grid is wider than high, else below.
    3. Find the number of the block with more than one color, and cut out its picture.
    4. For each block, subtract that number from the block's own number, and add 4 if the result is
       below 0, until it is not. Turn the picture by a quarter to the right so many times.
    5. To turn it, make each column a row, the leftmost column first, read from bottom to top.
    6. Copy the turned picture into the block.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. The side of a block is the shorter one of height and width of the grid.
    side = min(height, width)
    # 2. List the top left cells of all blocks, from the first to the last. Each block begins one
    #    cell after the end of the one before it, to the right if the grid is wider than high, else
    #    below.
    starts = []
    for place in range(0, max(height, width), side + 1):
        starts.append((0, place) if width > height else (place, 0))
    # 3. Find the number of the block with more than one color, and cut out its picture.
    for number, (top, left) in enumerate(starts):
        block = [row[left:left + side] for row in grid[top:top + side]]
        if len({cell for row in block for cell in row}) > 1:
            source = number
            picture = block
    output = [row[:] for row in grid]
    for number, (top, left) in enumerate(starts):
        # 4. For each block, subtract that number from the block's own number, and add 4 if the
        #    result is below 0, until it is not. Turn the picture by a quarter to the right so many
        #    times.
        turned = picture
        for _ in range((number - source) % 4):
            # 5. To turn it, make each column a row, the leftmost column first, read from bottom to
            #    top.
            turned = [[row[c] for row in turned[::-1]] for c in range(side)]
        # 6. Copy the turned picture into the block.
        for r in range(side):
            for c in range(side):
                output[top + r][left + c] = turned[r][c]
    result = output
    return result
