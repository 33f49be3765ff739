def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The first row of the input has cells of different colors. The second row is full of one
       color.
    3. All other rows of the input are empty.
    4. The first two rows stay the same.
    5. The other rows of the output are each full of one color. From top to bottom they have the
       colors of the first row from left to right. After the last color it starts again.
    Procedure:
    1. Copy the first two rows.
    2. Go through the other rows from top to bottom and count them from 0.
    3. Divide the count by the width: the rest is the number of the cell in the first row.
    4. Fill the row with the color of this cell.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Copy the first two rows.
    output = [list(row) for row in grid[:2]]
    # 2. Go through the other rows from top to bottom and count them from 0.
    for count in range(height - 2):
        # 3. Divide the count by the width: the rest is the number of the cell in the first row.
        color = grid[0][count % width]
        # 4. Fill the row with the color of this cell.
        output.append([color] * width)
    result = output
    return result
