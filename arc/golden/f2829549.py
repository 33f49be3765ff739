def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The middle column of the input has one color, the line, that no other cell has. (If instead
       the middle row is such a line, the grid can be turned.)
    2. The line cuts the input into a left half and a right half of the same size, each of the size
       of the output.
    3. Each half has the background color and one color of its own. The background is the only
       color that both halves have.
    4. The output has only the background and 3.
    5. A cell of the output is 3 where both halves have background. It is background where at least
       one of them has its own color.
    Procedure:
    1. If the middle column is not a line of one color that is nowhere else, turn the grid: swap
       rows and columns.
    2. Cut out the left half and the right half, without the middle column.
    3. Find the background: the color that both halves have.
    4. Go through the places of a half. If both halves have background there, the output gets 3,
       else background.
    5. If the grid was turned, turn the output back.
    """

    def swap(rows):
        return [list(column) for column in zip(*rows, strict=True)]

    # 1. If the middle column is not a line of one color that is nowhere else, turn the grid: swap
    #    rows and columns.
    middle = len(grid[0]) // 2
    line = [row[middle] for row in grid]
    others = {cell for row in grid for cell in row[:middle] + row[middle + 1 :]}
    turned = len(set(line)) > 1 or line[0] in others or len(grid[0]) % 2 == 0
    if turned:
        grid = swap(grid)
    # 2. Cut out the left half and the right half, without the middle column.
    middle = len(grid[0]) // 2
    left = [row[:middle] for row in grid]
    right = [row[middle + 1 :] for row in grid]
    # 3. Find the background: the color that both halves have.
    left_colors = {cell for row in left for cell in row}
    right_colors = {cell for row in right for cell in row}
    background = min(left_colors & right_colors)
    output = []
    # 4. Go through the places of a half. If both halves have background there, the output gets 3,
    #    else background.
    for left_row, right_row in zip(left, right, strict=True):
        row = []
        for left_cell, right_cell in zip(left_row, right_row, strict=True):
            empty = left_cell == background and right_cell == background
            row.append(3 if empty else background)
        output.append(row)
    # 5. If the grid was turned, turn the output back.
    if turned:
        output = swap(output)
    result = output
    return result
