def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size; the background is the most common color.
    2. There are two straight bars of one color at opposite edges: all cells of that color are in
       the first and the last column, or all are in the first and the last row.
    3. The two bars have the same length, at least 2, and do not face each other.
    4. In some rows (or columns) of one of the bars there is a single cell of a third color, the
       dot.
    5. In the output a line of the dot's color joins each dot to the bar, and the dot itself is 4.
    6. In the row (or column) of the other bar with the same number, counted from the top (or the
       left) end of the bar, all cells but the bar get the dot's color.
    Procedure:
    1. If the bars are not in the first and the last column, swap rows and columns.
    2. List the rows of the left bar and the rows of the right bar, from top to bottom.
    3. For each number, take the row of the left bar and the row of the right bar with that number.
    4. If the left bar's row has a dot, color the cells between the bar and the dot, color the dot
       itself 4, and color all cells but the bar in the right bar's row.
    5. If the right bar's row has a dot, do the same with left and right swapped.
    6. Swap rows and columns back, if they were swapped.
    """
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)

    def find_bars(picture):
        # The color of the bars if they are in the first and the last column, else None.
        first, last = [row[0] for row in picture], [row[-1] for row in picture]
        for color in set(cells) - {background}:
            at_edges = first.count(color) == last.count(color) == cells.count(color) / 2
            if at_edges and first.count(color) > 1:
                return color
        return None

    # 1. If the bars are not in the first and the last column, swap rows and columns.
    swapped = find_bars(grid) is None
    if swapped:
        grid = [list(column) for column in zip(*grid)]
    bar = find_bars(grid)
    last = len(grid[0]) - 1
    output = [row[:] for row in grid]
    # 2. List the rows of the left bar and the rows of the right bar, from top to bottom.
    left_rows = [r for r in range(len(grid)) if grid[r][0] == bar]
    right_rows = [r for r in range(len(grid)) if grid[r][last] == bar]
    # 3. For each number, take the row of the left bar and the row of the right bar with that
    #    number.
    for left_row, right_row in zip(left_rows, right_rows):
        for c in range(last + 1):
            # 4. If the left bar's row has a dot, color the cells between the bar and the dot, color
            #    the dot itself 4, and color all cells but the bar in the right bar's row.
            color = grid[left_row][c]
            if color not in (background, bar):
                output[left_row][1:c + 1] = [color] * (c - 1) + [4]
                output[right_row][:last] = [color] * last
            # 5. If the right bar's row has a dot, do the same with left and right swapped.
            color = grid[right_row][c]
            if color not in (background, bar):
                output[right_row][c:last] = [4] + [color] * (last - c - 1)
                output[left_row][1:] = [color] * last
    # 6. Swap rows and columns back, if they were swapped.
    if swapped:
        output = [list(column) for column in zip(*output)]
    result = output
    return result
