def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input may have any size and any colors.
    2. The output is three times as high and twice as wide, and consists of copies of the input.
    3. Each copy in the right half is the input as it is or upside down; each copy in the left half
       is the mirror image of its neighbor on the right.
    4. The upper and the lower pair of copies are upside down, the middle pair is not.
    Procedure:
    1. Make wide rows: each row of the input, reversed, followed by the row itself.
    2. Write the wide rows from the last to the first.
    3. Write them from the first to the last below.
    4. Write them from the last to the first again.
    """
    # 1. Make wide rows: each row of the input, reversed, followed by the row itself.
    wide_rows = []
    for row in grid:
        wide_rows.append(row[::-1] + row)
    output = []
    # 2. Write the wide rows from the last to the first.
    for row in reversed(wide_rows):
        output.append(list(row))
    # 3. Write them from the first to the last below.
    for row in wide_rows:
        output.append(list(row))
    # 4. Write them from the last to the first again.
    for row in reversed(wide_rows):
        output.append(list(row))
    result = output
    return result
