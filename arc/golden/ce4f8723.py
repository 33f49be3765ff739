def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. A straight line of one color cuts the input into two halves of the same size: it is
       the middle row, or else the middle column.
    2. Each half has the background and one color. Only the background is a color of both halves.
    3. The output is as large as one half and has only the background and the color 3.
    4. A cell is background if it is background in both halves.
    5. A cell is 3 if it has a color in one half or in both.
    Procedure:
    1. Look whether the middle row has only one color.
    2. If so, cut out the top half and the bottom half, else the left half and the right half.
    3. Find the background: the color that both halves have.
    4. Compare each cell of the first half with the same cell of the second half.
    5. Write the background if both are background, else 3.
    """
    # 1. Look whether the middle row has only one color.
    height = len(grid)
    width = len(grid[0])
    middle = set(grid[height // 2])
    is_row = height % 2 == 1 and len(middle) == 1
    # 2. If so, cut out the top half and the bottom half, else the left half and the right half.
    if is_row:
        first = grid[: height // 2]
        second = grid[height // 2 + 1 :]
    else:
        first = [row[: width // 2] for row in grid]
        second = [row[width // 2 + 1 :] for row in grid]
    # 3. Find the background: the color that both halves have.
    first_colors = {cell for row in first for cell in row}
    second_colors = {cell for row in second for cell in row}
    background = min(first_colors & second_colors, default=0)
    # 4. Compare each cell of the first half with the same cell of the second half.
    output = []
    for row1, row2 in zip(first, second):
        # 5. Write the background if both are background, else 3.
        output.append([a if a == b == background else 3 for a, b in zip(row1, row2)])
    result = output
    return result
