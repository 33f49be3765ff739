def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color. The input has two filled rectangles of two colors.
    3. The rectangles have common rows and lie side by side with a gap between them, or they have
       common columns and lie one above the other with a gap.
    4. A bridge of color 8 fills the gap from one rectangle to the other.
    5. The bridge is as wide as the common part, but without its first and its last line.
    Procedure:
    1. Find the background, and the first and last row and column of both rectangles.
    2. Find the common rows: from the lower one of the first rows to the upper one of the last rows.
       Find the common columns in the same way.
    3. If there are no common columns, the gap is between the columns: fill the common rows, but the
       first and the last, with 8 there.
    4. Else the gap is between the rows: fill the common columns, but the first and the last.
    """
    # 1. Find the background, and the first and last row and column of both rectangles.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    rows = []
    columns = []
    for color in set(cells) - {background}:
        rows.append([r for r, row in enumerate(grid) if color in row])
        columns.append([c for c, column in enumerate(zip(*grid)) if color in column])
    # 2. Find the common rows: from the lower one of the first rows to the upper one of the last
    #    rows. Find the common columns in the same way.
    top = max(places[0] for places in rows)
    bottom = min(places[-1] for places in rows)
    left = max(places[0] for places in columns)
    right = min(places[-1] for places in columns)
    output = [list(row) for row in grid]
    # 3. If there are no common columns, the gap is between the columns: fill the common rows, but
    #    the first and the last, with 8 there.
    if right < left:
        for r in range(top + 1, bottom):
            for c in range(right + 1, left):
                output[r][c] = 8
    # 4. Else the gap is between the rows: fill the common columns, but the first and the last.
    else:
        for r in range(bottom + 1, top):
            for c in range(left + 1, right):
                output[r][c] = 8
    result = output
    return result
