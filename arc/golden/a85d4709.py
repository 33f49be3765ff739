def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output are 3x3.
    2. Each row of the input has one 5, the other cells are 0.
    3. Each row of the output has only one color: 2, 4 or 3.
    4. It is 2 if the 5 is on the left, 4 if it is in the middle and 3 if it is on the right.
    Procedure:
    1. Go through the rows.
    2. Find the column of the 5.
    3. Add a row of 2, 4 or 3, by this column.
    """
    output = []
    # 1. Go through the rows.
    for row in grid:
        # 2. Find the column of the 5.
        column = row.index(5)
        # 3. Add a row of 2, 4 or 3, by this column.
        color = [2, 4, 3][column]
        output.append([color] * 3)
    result = output
    return result
