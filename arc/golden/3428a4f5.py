def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. A straight line of one color, not 0, cuts the input into two halves of the same size: it is
       the middle row, or else the middle column.
    2. Each half has one color besides 0.
    3. The output is as large as one half and has only the colors 0 and 3.
    4. A cell is 3 if it is 0 in exactly one of the halves.
    5. It is 0 if it is 0 in both halves, or in none of them.
    Procedure:
    1. Look whether the middle row has only one color, not 0.
    2. If so, cut out the top half and the bottom half, else the left half and the right half.
    3. Compare each cell of the first half with the same cell of the second half.
    4. Write 3 if exactly one of the two is 0, else 0.
    """
    # 1. Look whether the middle row has only one color, not 0.
    height = len(grid)
    width = len(grid[0])
    middle = set(grid[height // 2])
    is_row = height % 2 == 1 and len(middle) == 1 and 0 not in middle
    # 2. If so, cut out the top half and the bottom half, else the left half and the right half.
    if is_row:
        first = grid[: height // 2]
        second = grid[height // 2 + 1 :]
    else:
        first = [row[: width // 2] for row in grid]
        second = [row[width // 2 + 1 :] for row in grid]
    # 3. Compare each cell of the first half with the same cell of the second half.
    output = []
    for row1, row2 in zip(first, second):
        # 4. Write 3 if exactly one of the two is 0, else 0.
        output.append([3 if (a == 0) != (b == 0) else 0 for a, b in zip(row1, row2)])
    result = output
    return result
