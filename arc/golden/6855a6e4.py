def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The most common color is the background; there are two other colors.
    3. One color forms two equal brackets that face each other: each is a straight line with a
       short arm at both ends, and the arms point to the other bracket. The brackets face each
       other either vertically (upper and lower) or horizontally (left and right).
    4. The cells of the other color lie outside the brackets, behind their lines.
    5. In the output these cells have been folded to the inside: those behind a bracket are
       mirrored at its line, and stand so that one row (or column) next to the line stays free.
       The brackets stay.
    Procedure:
    1. Find the background and the other colors.
    2. Find the color of the brackets: in the rectangle around its cells, the first row is a full
       line, and the second row has just its two end cells. If there is no such color, swap rows
       and columns and look again.
    3. Start with a copy of the grid without the cells of the other color.
    4. Find the distances of these cells above the rectangle from its first row. The smallest
       one becomes 2 below that row, the next one 3, and so on.
    5. Do the same for the cells below the rectangle, from its last row upwards.
    6. If rows and columns were swapped, swap them back.
    """
    # 1. Find the background and the other colors.
    cells = [value for row in grid for value in row]
    background = max(set(cells), key=cells.count)
    colors = [color for color in set(cells) if color != background]
    # 2. Find the color of the brackets: in the rectangle around its cells, the first row is a
    # full line, and the second row has just its two end cells. If there is no such color, swap
    # rows and columns and look again.
    def find_bracket(rows):
        for color in colors:
            lines = [r for r in range(len(rows)) if color in rows[r]]
            ends = [c for row in rows for c in range(len(row)) if row[c] == color]
            left = min(ends)
            right = max(ends)
            first = rows[lines[0]][left:right + 1]
            second = rows[min(lines[0] + 1, len(rows) - 1)][left:right + 1]
            is_line = first.count(color) == len(first)
            if is_line and second.count(color) == 2 and second[0] == second[-1] == color:
                return color, lines[0], lines[-1]
        return None
    found = find_bracket(grid)
    swapped = found is None
    if swapped:
        grid = [list(column) for column in zip(*grid)]
        found = find_bracket(grid)
    bracket, top, bottom = found
    # 3. Start with a copy of the grid without the cells of the other color.
    height = len(grid)
    width = len(grid[0])
    output = [[v if v == bracket else background for v in row] for row in grid]
    others = [(r, c) for r in range(height) for c in range(width)
              if grid[r][c] not in (background, bracket)]
    above = [top - r for r, c in others if r < top]
    below = [r - bottom for r, c in others if r > bottom]
    for r, c in others:
        # 4. Find the distances of these cells above the rectangle from its first row. The
        # smallest one becomes 2 below that row, the next one 3, and so on.
        if r < top:
            new_row = top + 2 + (top - r) - min(above)
        # 5. Do the same for the cells below the rectangle, from its last row upwards.
        else:
            new_row = bottom - 2 - (r - bottom) + min(below)
        if 0 <= new_row < height:
            output[new_row][c] = grid[r][c]
    # 6. If rows and columns were swapped, swap them back.
    if swapped:
        output = [list(column) for column in zip(*output)]
    result = output
    return result
