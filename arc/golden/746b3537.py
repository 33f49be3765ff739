def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input has bands of one color each, one below the other or side by side.
    2. A band is one or more rows, or one or more columns, thick. Neighboring bands have different
       colors.
    3. The output has one cell for each band, in the same order.
    4. It is one column if the bands lie one below the other, and one row if they lie side by side.
    Procedure:
    1. Leave out each row that is equal to the row above it.
    2. In the remaining rows leave out each column that is equal to the column on its left.
    3. Return what is left.
    """
    # 1. Leave out each row that is equal to the row above it.
    rows = []
    for row in grid:
        if not rows or row != rows[-1]:
            rows.append(row)
    # 2. In the remaining rows leave out each column that is equal to the column on its left.
    columns = []
    for column in zip(*rows):
        if not columns or column != columns[-1]:
            columns.append(column)
    # 3. Return what is left.
    result = [list(row) for row in zip(*columns)]
    return result
