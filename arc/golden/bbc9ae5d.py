def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input has one row.
    2. The output has the same width, and half as many rows as columns.
    3. The first row of the output is the input.
    4. Each other row is the row above moved right by one cell: its last cell moves out.
    5. The first color stays at the left end, so it fills the cell that becomes free.
    Procedure:
    1. Take the row and its first color.
    2. Go through the rows of the output, half as many as columns.
    3. Add the row, then move it right by one cell, with the first color at the left end.
    """
    # 1. Take the row and its first color.
    row = list(grid[0])
    color = row[0]
    output = []
    # 2. Go through the rows of the output, half as many as columns.
    for _ in range(len(row) // 2):
        # 3. Add the row, then move it right by one cell, with the first color at the left end.
        output.append(row)
        row = [color, *row[:-1]]
    result = output
    return result
