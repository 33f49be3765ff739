def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The most common color is the background.
    3. There is one straight line of another color. It starts at one border of the grid and runs
       straight away from it, but not along another border and not up to the opposite one.
    4. Seen so that the line starts at the left border, the output has a staircase: all rows above
       the line have a bar of color 3 at the left border, and rows below it have a bar of color 1.
    5. Each bar is one cell longer than the bar in the row below it; bars do not go beyond the right
       border, and a row whose length would be 0 or less has no bar.
    Procedure:
    1. Turn the grid by quarter turns until the line starts at the left border and runs to the
       right.
    2. Find its row and its length.
    3. For each row above it, fill as many cells from the left with 3 as the length and the distance
       of the rows together.
    4. For each row below it, fill as many cells from the left with 1 as the length less the
       distance of the rows.
    5. Turn the grid on until it is upright again.
    """
    cells = [value for row in grid for value in row]
    background = max(set(cells), key=cells.count)
    def turn(rows):
        return [list(column) for column in zip(*rows[::-1])]
    # 1. Turn the grid by quarter turns until the line starts at the left border and runs to the
    # right.
    turns = 0
    output = [list(row) for row in grid]
    while turns < 4:
        lines = [r for r in range(len(output)) if set(output[r]) != {background}]
        if len(lines) == 1 and output[lines[0]][0] != background:
            break
        output = turn(output)
        turns += 1
    # 2. Find its row and its length.
    width = len(output[0])
    line = lines[0]
    length = width - output[line].count(background)
    for r in range(len(output)):
        # 3. For each row above it, fill as many cells from the left with 3 as the length and the
        # distance of the rows together.
        if r < line:
            for c in range(min(length + line - r, width)):
                output[r][c] = 3
        # 4. For each row below it, fill as many cells from the left with 1 as the length less the
        # distance of the rows.
        if r > line:
            for c in range(length - (r - line)):
                output[r][c] = 1
    # 5. Turn the grid on until it is upright again.
    for _ in range((4 - turns) % 4):
        output = turn(output)
    result = output
    return result
