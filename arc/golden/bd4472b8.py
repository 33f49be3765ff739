def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The first row of the input has cells of different colors. The second row, the line, is full
       of one color. (If the whole picture is turned, it can first be turned back.)
    3. All other rows of the input are empty: they have the background color, in the examples 0.
    4. The first two rows stay the same.
    5. The other rows of the output are each full of one color. From top to bottom they have the
       colors of the first row from left to right. After the last color it starts again.
    Procedure:
    1. Turn the grid by quarter turns to the right until the second row has one color and all rows
       below have one other color. Count the turns.
    2. Copy the first two rows.
    3. Go through the other rows from top to bottom and count them from 0. Divide the count by the
       width: the rest is the number of the cell in the first row, also counted from 0.
    4. Fill the row with the color of this cell.
    5. Turn the output on to the right, until there are four turns in all.
    """

    def turn(rows):
        return [list(column) for column in zip(*rows[::-1], strict=True)]

    # 1. Turn the grid by quarter turns to the right until the second row has one color and all rows
    #    below have one other color. Count the turns.
    turns = 0
    while turns < 4:
        line = set(grid[1])
        below = {cell for row in grid[2:] for cell in row}
        if len(line) == 1 and len(below) == 1 and line != below:
            break
        grid = turn(grid)
        turns += 1
    # 2. Copy the first two rows.
    height = len(grid)
    width = len(grid[0])
    output = [list(row) for row in grid[:2]]
    # 3. Go through the other rows from top to bottom and count them from 0. Divide the count by the
    #    width: the rest is the number of the cell in the first row, also counted from 0.
    for count in range(height - 2):
        color = grid[0][count % width]
        # 4. Fill the row with the color of this cell.
        output.append([color] * width)
    # 5. Turn the output on to the right, until there are four turns in all.
    while turns < 4:
        output = turn(output)
        turns += 1
    result = output
    return result
