def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output is as high as the input. The middle column of the input has one color, the line.
    2. The line cuts the input into a left half and a right half of the same size, each of the size
       of the output.
    3. Each half has the background color and one color of its own. The background is the only
       color that both halves have.
    4. The output has only the background and 3.
    5. A cell of the output is 3 where both halves have background. It is background where at least
       one of them has its own color.
    Procedure:
    1. Cut out the left half and the right half, without the middle column.
    2. Find the background: the color that both halves have.
    3. Go through the places of a half.
    4. If both halves have background there, the output gets 3, else background.
    """
    height = len(grid)
    middle = len(grid[0]) // 2
    # 1. Cut out the left half and the right half, without the middle column.
    left = [row[:middle] for row in grid]
    right = [row[middle + 1 :] for row in grid]
    # 2. Find the background: the color that both halves have.
    left_colors = {cell for row in left for cell in row}
    right_colors = {cell for row in right for cell in row}
    background = min(left_colors & right_colors)
    output = []
    # 3. Go through the places of a half.
    for r in range(height):
        row = []
        for c in range(middle):
            # 4. If both halves have background there, the output gets 3, else background.
            empty = left[r][c] == background and right[r][c] == background
            row.append(3 if empty else background)
        output.append(row)
    result = output
    return result
