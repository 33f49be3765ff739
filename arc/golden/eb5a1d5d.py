def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output is smaller than the input, and both have the same colors.
    2. The input has rectangles inside each other, each in one color different from that around it.
    3. The space around each rectangle is wide: it has whole rows and columns on each side.
    4. In the output each ring of one color is just one cell thick, and the innermost rectangle is
       one cell.
    Procedure:
    1. Go through the rows from top to bottom; keep a row if it is the first one or differs from the
       row before it.
    2. Swap rows and columns.
    3. Do step 1 again, for what were the columns.
    4. Swap rows and columns back.
    """
    def drop_repeated(lines):
        kept = []
        for line in lines:
            if not kept or kept[-1] != line:
                kept.append(line)
        return kept

    # 1. Go through the rows from top to bottom; keep a row if it is the first one or differs from
    #    the row before it.
    rows = drop_repeated(grid)
    # 2. Swap rows and columns.
    turned = [list(column) for column in zip(*rows)]
    # 3. Do step 1 again, for what were the columns.
    turned = drop_repeated(turned)
    # 4. Swap rows and columns back.
    result = [list(row) for row in zip(*turned)]
    return result
