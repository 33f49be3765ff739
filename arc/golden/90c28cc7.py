def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output is smaller than the input, and the background is 0.
    2. The input has one big rectangular part without background, made of fields of one color.
    3. The borders between fields lie on a few horizontal and vertical lines, which divide the part
       into rows and columns of rectangles. A field fills one of these rectangles, or several.
    4. The output has one cell for each of these rectangles, in its color.
    5. So of neighboring rows of the part that are equal only one is kept, and the same is true for
       columns.
    Procedure:
    1. Cut out the smallest rectangle around all cells that are not 0.
    2. Go through its rows from top to bottom; keep a row if it is the first one or differs from the
       row before it.
    3. Swap rows and columns.
    4. Do step 2 again, for what were the columns.
    5. Swap rows and columns back.
    """
    # 1. Cut out the smallest rectangle around all cells that are not 0.
    rows = [r for r in range(len(grid)) if any(cell != 0 for cell in grid[r])]
    columns = [c for c in range(len(grid[0])) if any(row[c] != 0 for row in grid)]
    part = [row[columns[0]:columns[-1] + 1] for row in grid[rows[0]:rows[-1] + 1]]

    def drop_repeated(lines):
        kept = []
        for line in lines:
            if not kept or kept[-1] != line:
                kept.append(line)
        return kept

    # 2. Go through its rows from top to bottom; keep a row if it is the first one or differs from
    #    the row before it.
    part = drop_repeated(part)
    # 3. Swap rows and columns.
    turned = [list(column) for column in zip(*part)]
    # 4. Do step 2 again, for what were the columns.
    turned = drop_repeated(turned)
    # 5. Swap rows and columns back.
    result = [list(row) for row in zip(*turned)]
    return result
