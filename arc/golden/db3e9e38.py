def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The most common color is the background.
    3. There is one bar of another color, one or more cells thick and at least two cells long. It
       starts at one border of the grid and runs straight away from it, not along another border
       and not up to the opposite one.
    4. In the output there are more bars of the same thickness on both sides of it, parallel to it
       and starting at the same border. Each one is one cell shorter than its neighbor nearer to
       the first bar. At the end of the border a bar may be cut off.
    5. The bars at an even distance, counted in bars, have the color of the first bar, the others
       the color 8.
    Procedure:
    1. Turn the grid by quarter turns until all colored cells reach the upper border: each column
       that has a colored cell has one in the first row, but the last row has none.
    2. Find the columns of the bar, its length and its color.
    3. For each column on the left or right, count its distance in bars: the number of columns up
       to the first bar, divided by the thickness and rounded up.
    4. Fill as many cells from the top as the first length less this distance: with the first color
       if the distance is even, else with 8.
    5. Turn the grid on until it is upright again.
    """
    cells = [value for row in grid for value in row]
    background = max(set(cells), key=cells.count)
    def turn(rows):
        return [list(column) for column in zip(*rows[::-1])]
    # 1. Turn the grid by quarter turns until all colored cells reach the upper border: each column
    # that has a colored cell has one in the first row, but the last row has none.
    turns = 0
    output = [list(row) for row in grid]
    while turns < 4:
        columns = [c for c in range(len(output[0])) if output[0][c] != background]
        used = [c for c in range(len(output[0])) if any(row[c] != background for row in output)]
        if columns == used and set(output[-1]) == {background}:
            break
        output = turn(output)
        turns += 1
    # 2. Find the columns of the bar, its length and its color.
    height = len(output)
    width = len(output[0])
    thickness = len(columns)
    color = output[0][columns[0]]
    length = [row[columns[0]] for row in output].count(color)
    for c in range(width):
        # 3. For each column on the left or right, count its distance in bars: the number of
        # columns up to the first bar, divided by the thickness and rounded up.
        steps = max(columns[0] - c, c - columns[-1], 0)
        distance = (steps + thickness - 1) // thickness
        # 4. Fill as many cells from the top as the first length less this distance: with the first
        # color if the distance is even, else with 8.
        for r in range(min(length - distance, height)):
            if distance % 2 == 0:
                output[r][c] = color
            else:
                output[r][c] = 8
    # 5. Turn the grid on until it is upright again.
    for _ in range((4 - turns) % 4):
        output = turn(output)
    result = output
    return result
