def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input consists of two halves of equal size, one above the other or side by side.
    2. The background color occurs in both halves, and each half has one other color that the
       other half does not have. Where the upper and the lower half of a grid are like that, they
       are meant, and not the left and the right half.
    3. The output has the size of a half.
    4. A cell of the output is 2 if the cells at this place are background in both halves; all
       other cells have the background color.
    Procedure:
    1. Cut the grid into an upper and a lower half. If the height is odd, if a half has more than
       two colors, or if not just one color occurs in both halves, cut the grid into a left and a
       right half instead.
    2. The background is the color that occurs in both halves.
    3. Compare the halves cell by cell: write 2 where both are background, else background.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Cut the grid into an upper and a lower half. If the height is odd, if a half has more than
    # two colors, or if not just one color occurs in both halves, cut the grid into a left and a
    # right half instead.
    def colors_of(half):
        return set(value for row in half for value in row)
    first = grid[:height // 2]
    second = grid[height // 2:]
    shared = colors_of(first) & colors_of(second)
    most = max(len(colors_of(first)), len(colors_of(second)))
    if height % 2 == 1 or most > 2 or len(shared) != 1:
        first = [row[:width // 2] for row in grid]
        second = [row[width // 2:] for row in grid]
        shared = colors_of(first) & colors_of(second)
    # 2. The background is the color that occurs in both halves.
    background = list(shared)[0]
    # 3. Compare the halves cell by cell: write 2 where both are background, else background.
    output = []
    for r in range(len(first)):
        output.append([background] * len(first[0]))
        for c in range(len(first[0])):
            if first[r][c] == background and second[r][c] == background:
                output[r][c] = 2
    result = output
    return result
