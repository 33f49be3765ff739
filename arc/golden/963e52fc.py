def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output is as high as the input and twice as wide.
    2. The input has a pattern of a few columns, which is repeated from left to right; the last
       repetition may be incomplete.
    3. The output begins with the input, and the pattern goes on repeating in it.
    Procedure:
    1. List the columns of the input.
    2. Find the period: the smallest number for which each column is equal to the one that many
       columns before it, if there is one.
    3. Append columns, each a copy of the one that many columns before it, until there are twice as
       many columns as in the input.
    4. Turn the columns back into rows.
    """
    # 1. List the columns of the input.
    columns = [list(column) for column in zip(*grid)]
    width = len(columns)
    # 2. Find the period: the smallest number for which each column is equal to the one that many
    #    columns before it, if there is one.
    period = 1
    while any(columns[i] != columns[i - period] for i in range(period, width)):
        period += 1
    # 3. Append columns, each a copy of the one that many columns before it, until there are twice
    #    as many columns as in the input.
    while len(columns) < 2 * width:
        columns.append(columns[len(columns) - period][:])
    # 4. Turn the columns back into rows.
    result = [list(row) for row in zip(*columns)]
    return result
