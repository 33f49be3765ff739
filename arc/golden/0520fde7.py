def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. A straight line of one color, not 0, cuts the input into two halves of the same size.
    2. The line is the middle column, or else it is the middle row.
    3. The output is as large as one half and has only the colors 0 and 2.
    4. A cell is 2 if it is not 0 in both halves, else it is 0.
    Procedure:
    1. Look whether the middle column has only one color, not 0.
    2. If so, cut out the left half and the right half, else the top half and the bottom half.
    3. Compare each cell of the first half with the same cell of the second half.
    4. Write 2 if both are not 0, else 0.
    """
    # 1. Look whether the middle column has only one color, not 0.
    height = len(grid)
    width = len(grid[0])
    middle = [row[width // 2] for row in grid]
    is_column = width % 2 == 1 and len(set(middle)) == 1 and middle[0] != 0
    # 2. If so, cut out the left half and the right half, else the top half and the bottom half.
    if is_column:
        first = [row[: width // 2] for row in grid]
        second = [row[width // 2 + 1 :] for row in grid]
    else:
        first = grid[: height // 2]
        second = grid[height // 2 + 1 :]
    # 3. Compare each cell of the first half with the same cell of the second half.
    output = []
    for row1, row2 in zip(first, second):
        # 4. Write 2 if both are not 0, else 0.
        output.append([2 if a != 0 and b != 0 else 0 for a, b in zip(row1, row2)])
    result = output
    return result
