def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input consists of two halves of equal size, with a line of one color between them; the
       line is the middle column or the middle row of the grid, and its color is found nowhere
       else.
    2. The background is 0, and each half has one other color; it may be the same one.
    3. The output has the size of a half.
    4. A cell of the output is 8 if the cells at this place are 0 in both halves; else it is 0.
    Procedure:
    1. If the middle column is a line of a color that is found nowhere else, cut the grid into the
       parts left and right of it; else into the parts above and below the middle row.
    2. Compare the halves cell by cell: write 8 where both are 0, and 0 elsewhere.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. If the middle column is a line of a color that is found nowhere else, cut the grid into
    # the parts left and right of it; else into the parts above and below the middle row.
    middle = width // 2
    line = [row[middle] for row in grid]
    others = [value for row in grid for value in row[:middle] + row[middle + 1:]]
    if width % 2 == 1 and len(set(line)) == 1 and line[0] not in others:
        first = [row[:middle] for row in grid]
        second = [row[middle + 1:] for row in grid]
    else:
        first = grid[:height // 2]
        second = grid[height // 2 + 1:]
    # 2. Compare the halves cell by cell: write 8 where both are 0, and 0 elsewhere.
    output = []
    for r in range(len(first)):
        output.append([0] * len(first[0]))
        for c in range(len(first[0])):
            if first[r][c] == 0 and second[r][c] == 0:
                output[r][c] = 8
    result = output
    return result
