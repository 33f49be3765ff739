def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input has lines of one color: whole rows and whole columns, and the border of the grid.
    2. The lines divide the grid into blocks of the same size, which form rows of blocks.
    3. In each row of blocks all blocks are equal but one.
    4. The output is as high as the input. It has one block for each row of blocks, with the lines
       around it.
    5. It is the block that differs from the others of its row.
    Procedure:
    1. Find the dividing lines: the rows and the columns that have only the color of the top left
       cell.
    2. Go through the rows of blocks, between a line and the next one.
    3. Cut out the blocks of this row, each with its line on the left and on the right.
    4. Find the block that comes only once.
    5. Write a line above it, then the block, and one line more after the last block.
    """
    # 1. Find the dividing lines: the rows and the columns that have only the color of the top left
    #    cell.
    line = grid[0][0]
    rows = [r for r, row in enumerate(grid) if set(row) == {line}]
    columns = [c for c, column in enumerate(zip(*grid)) if set(column) == {line}]
    output = []
    # 2. Go through the rows of blocks, between a line and the next one.
    for i in range(len(rows) - 1):
        top, bottom = rows[i], rows[i + 1]
        # 3. Cut out the blocks of this row, each with its line on the left and on the right.
        blocks = []
        for k in range(len(columns) - 1):
            left, right = columns[k], columns[k + 1]
            blocks.append([row[left : right + 1] for row in grid[top + 1 : bottom]])
        # 4. Find the block that comes only once.
        different = min(blocks, key=blocks.count)
        # 5. Write a line above it, then the block, and one line more after the last block.
        output.append([line] * len(different[0]))
        output += different
    output.append([line] * len(output[0]))
    result = output
    return result
