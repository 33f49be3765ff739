def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. A line of one color, which is nowhere else, divides the input into two halves of equal size,
       one above the other or side by side.
    2. Each half has two colors; the only color that both have is the background.
    3. The output is as large as a half and has only the background and the color 3.
    4. A cell of the output is 3 if it is background in both halves, else it is background.
    Procedure:
    1. If the middle row is not a line of one color that is nowhere else, swap rows and columns.
    2. Cut out the half above the line and the half below it.
    3. Find the background: the color that is in both halves.
    4. Make an output of background, as large as a half.
    5. Set each cell to 3 that is background in both halves.
    6. Swap rows and columns back, if they were swapped.
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
    # 4. Make an output of background, as large as a half.
    width = len(grid[0])
    output = [[background] * width for _ in range(height)]
    # 5. Set each cell to 3 that is background in both halves.
    for r in range(height):
        for c in range(width):
            if upper[r][c] == background and lower[r][c] == background:
                output[r][c] = 3
    # 6. Swap rows and columns back, if they were swapped.
    if swapped:
        output = [list(column) for column in zip(*output)]
    result = output
    return result
