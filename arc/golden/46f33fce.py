def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output is twice as high and twice as wide as the input.
    2. The input has single cells of other colors than the background 0.
    3. All these cells are in every second row and every second column. The first row and the
       first column are left out.
    4. In the output each such cell is a 4x4 block. The blocks stand side by side without gaps.
    Procedure:
    1. Take every second row, starting with the second.
    2. Of these take every second cell, starting with the second.
    3. Repeat each of these cells 4 times to the right.
    4. Repeat each of these rows 4 times downward.
    """
    scale = 4
    output = []
    # 1. Take every second row, starting with the second.
    for row in grid[1::2]:
        wide_row = []
        # 2. Of these take every second cell, starting with the second.
        for cell in row[1::2]:
            # 3. Repeat each of these cells 4 times to the right.
            wide_row += [cell] * scale
        # 4. Repeat each of these rows 4 times downward.
        for _ in range(scale):
            output.append(list(wide_row))
    result = output
    return result
