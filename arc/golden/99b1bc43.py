def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input consists of two halves of equal size, with a line of one color between them; the
       line is the middle row or the middle column of the grid, and its color is found nowhere
       else.
    2. The background color occurs in both halves, and each half has one other color that the
       other half does not have.
    3. The output has the size of a half.
    4. A cell of the output is 3 if just one of the two cells at this place is background; else it
       has the background color.
    Procedure:
    1. If the middle row is a line of one color that is found nowhere else, cut the grid into the
       parts above and below it; else into the parts left and right of the middle column.
    2. The background is the color that occurs in both halves.
    3. Compare the halves cell by cell: write 3 where just one of them is background.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. If the middle row is a line of one color that is found nowhere else, cut the grid into the
    # parts above and below it; else into the parts left and right of the middle column.
    middle = height // 2
    others = [value for r in range(height) if r != middle for value in grid[r]]
    if height % 2 == 1 and len(set(grid[middle])) == 1 and grid[middle][0] not in others:
        first = grid[:middle]
        second = grid[middle + 1:]
    else:
        first = [row[:width // 2] for row in grid]
        second = [row[width // 2 + 1:] for row in grid]
    # 2. The background is the color that occurs in both halves.
    first_colors = set(value for row in first for value in row)
    second_colors = set(value for row in second for value in row)
    background = list(first_colors & second_colors)[0]
    # 3. Compare the halves cell by cell: write 3 where just one of them is background.
    output = []
    for r in range(len(first)):
        output.append([background] * len(first[0]))
        for c in range(len(first[0])):
            if (first[r][c] == background) != (second[r][c] == background):
                output[r][c] = 3
    result = output
    return result
