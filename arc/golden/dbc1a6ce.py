def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. On the background, the most common color, there are single cells of one other color.
    3. These cells stay the same. Some background cells become 8.
    4. The cells of 8 form lines between two cells of this color in the same row, and between two in
       the same column.
    Procedure:
    1. Find the background: the most common color.
    2. For each background cell look at the parts of its row to the left and to the right.
    3. Look at the parts of its column above and below, too.
    4. If there is a colored cell both to the left and to the right, or both above and below, color
       the cell with 8.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)

    def has_dot(part):
        return any(cell != background for cell in part)

    output = [list(row) for row in grid]
    for r in range(height):
        for c in range(width):
            if grid[r][c] != background:
                continue
            # 2. For each background cell look at the parts of its row to the left and to the right.
            row = grid[r]
            across = has_dot(row[:c]) and has_dot(row[c + 1 :])
            # 3. Look at the parts of its column above and below, too.
            column = [line[c] for line in grid]
            along = has_dot(column[:r]) and has_dot(column[r + 1 :])
            # 4. If there is a colored cell both to the left and to the right, or both above and
            #    below, color the cell with 8.
            if across or along:
                output[r][c] = 8
    result = output
    return result
