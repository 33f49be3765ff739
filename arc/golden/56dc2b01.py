def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The most common color is the background.
    3. There is one full line of color 2, a whole row or a whole column, and one figure of another
       color on one side of it.
    4. In the output the figure has moved straight to the line of 2 and touches it.
    5. A new full line of color 8, parallel to the line of 2, touches the other side of the figure.
    Procedure:
    1. If no row is full of 2, swap rows and columns, so that the line of 2 is a row.
    2. Find the background, the row of the 2s, and the first and last row of the figure.
    3. If the figure lies below the line, it moves up until its first row is the row after the
       line. If it lies above, it moves down until its last row is the row before the line.
    4. Draw the line of 2, the figure in its new rows, and a line of 8 in the row that follows the
       figure on the side away from the line of 2.
    5. If rows and columns were swapped, swap them back.
    """
    # 1. If no row is full of 2, swap rows and columns, so that the line of 2 is a row.
    swapped = not any(set(row) == {2} for row in grid)
    if swapped:
        grid = [list(column) for column in zip(*grid)]
    height = len(grid)
    width = len(grid[0])
    # 2. Find the background, the row of the 2s, and the first and last row of the figure.
    cells = [value for row in grid for value in row]
    background = max(set(cells), key=cells.count)
    line = [r for r in range(height) if set(grid[r]) == {2}][0]
    figure_rows = []
    for r in range(height):
        if r != line and set(grid[r]) != {background}:
            figure_rows.append(r)
    first = min(figure_rows)
    last = max(figure_rows)
    # 3. If the figure lies below the line, it moves up until its first row is the row after the
    # line. If it lies above, it moves down until its last row is the row before the line.
    if first > line:
        move = line + 1 - first
        new_line = last + move + 1
    else:
        move = line - 1 - last
        new_line = first + move - 1
    # 4. Draw the line of 2, the figure in its new rows, and a line of 8 in the row that follows
    # the figure on the side away from the line of 2.
    output = [[background] * width for _ in range(height)]
    output[line] = [2] * width
    for r in range(first, last + 1):
        output[r + move] = list(grid[r])
    if 0 <= new_line < height:
        output[new_line] = [8] * width
    # 5. If rows and columns were swapped, swap them back.
    if swapped:
        output = [list(column) for column in zip(*output)]
    result = output
    return result
