def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. A line of one color, which is nowhere else, divides the input into two halves of equal size,
       one above the other or side by side.
    2. Each half has two colors: the background, which is the same in both, and another color, which
       is not in the other half.
    3. No place is colored in both halves.
    4. The output is as large as a half and has the colored cells of both.
    Procedure:
    1. If the middle row is not a line of one color that is nowhere else, swap rows and columns.
    2. Cut out the half above the line and the half below it.
    3. Find the background: the color that is in both halves.
    4. Copy the upper half. Where it is background, take the cell of the lower half.
    5. Swap rows and columns back, if they were swapped.
    """
    def middle_is_line(picture):
        middle = picture[len(picture) // 2]
        others = [cell for row in picture for cell in row if row is not middle]
        return len(picture) % 2 == 1 and len(set(middle)) == 1 and middle[0] not in others

    # 1. If the middle row is not a line of one color that is nowhere else, swap rows and columns.
    swapped = not middle_is_line(grid)
    if swapped:
        grid = [list(column) for column in zip(*grid)]
    # 2. Cut out the half above the line and the half below it.
    height = len(grid) // 2
    upper = grid[:height]
    lower = grid[height + 1:]
    # 3. Find the background: the color that is in both halves.
    lower_colors = {cell for row in lower for cell in row}
    background = [cell for row in upper for cell in row if cell in lower_colors][0]
    # 4. Copy the upper half. Where it is background, take the cell of the lower half.
    output = [row[:] for row in upper]
    for r in range(height):
        for c in range(len(grid[0])):
            if upper[r][c] == background:
                output[r][c] = lower[r][c]
    # 5. Swap rows and columns back, if they were swapped.
    if swapped:
        output = [list(column) for column in zip(*output)]
    result = output
    return result
