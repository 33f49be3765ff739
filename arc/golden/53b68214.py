def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output is as wide as the input and has 10 rows. The input has fewer rows.
    2. The first rows of the output are the input.
    3. The input has a pattern on the background, the most common color. The pattern repeats
       downward.
    4. After some rows, the period, the same rows come again. They can be moved to one side by some
       columns, the shift, as in stairs. The shift is the same for each period.
    5. The output continues the pattern down to the last row.
    Procedure:
    1. To move a row by a shift put each cell that many columns to the right, or to the left if the
       shift is negative. Cells that come from outside are background.
    2. Try the periods from 1 upward, and for each the shifts from 0 upward, to both sides.
    3. Take the first pair for which each row of the input is the row one period above it, moved by
       the shift.
    4. Add rows in the same way until the output has 10 rows.
    """
    height = len(grid)
    width = len(grid[0])
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)

    def move(row, shift):
        # 1. To move a row by a shift put each cell that many columns to the right, or to the left
        #    if the shift is negative. Cells that come from outside are background.
        moved = [background] * width
        for c in range(width):
            if 0 <= c - shift < width:
                moved[c] = row[c - shift]
        return moved

    # 2. Try the periods from 1 upward, and for each the shifts from 0 upward, to both sides.
    pairs = []
    for period in range(1, height + 1):
        for shift in sorted(range(1 - width, width), key=abs):
            # 3. Take the first pair for which each row of the input is the row one period above
            #    it, moved by the shift.
            if all(grid[r] == move(grid[r - period], shift) for r in range(period, height)):
                pairs.append((period, shift))
    period, shift = pairs[0]
    # 4. Add rows in the same way until the output has 10 rows.
    output = [list(row) for row in grid]
    while len(output) < 10:
        output.append(move(output[-period], shift))
    result = output
    return result
