def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The output has only the colors 0 and 5.
    3. Each row of the output has only one color.
    4. A row is 5 if all cells of this row of the input are equal, else it is 0.
    Procedure:
    1. Go through the rows.
    2. If the row has only one color, add a row of 5.
    3. Else add a row of 0.
    """
    width = len(grid[0])
    output = []
    # 1. Go through the rows.
    for row in grid:
        if len(set(row)) == 1:
            # 2. If the row has only one color, add a row of 5.
            output.append([5] * width)
        else:
            # 3. Else add a row of 0.
            output.append([0] * width)
    result = output
    return result
