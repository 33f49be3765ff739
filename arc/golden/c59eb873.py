def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output is twice as high and twice as wide as the input.
    2. Each row of the output comes twice.
    3. Each cell of the input becomes a 2x2 block of its color.
    Procedure:
    1. Go through the rows.
    2. Repeat each cell of the row twice.
    3. Add the wide row twice.
    """
    output = []
    # 1. Go through the rows.
    for row in grid:
        # 2. Repeat each cell of the row twice.
        wide = [cell for cell in row for _ in range(2)]
        # 3. Add the wide row twice.
        output.append(wide)
        output.append(list(wide))
    result = output
    return result
