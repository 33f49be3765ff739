def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output are squares of the same size.
    2. Cells that are not 5 or 8 stay the same.
    3. Each 5 becomes 8 and each 8 becomes 5.
    Procedure:
    1. Go through the rows.
    2. Swap 5 and 8, keep the other colors.
    3. Add the new row.
    """
    swap = {5: 8, 8: 5}
    output = []
    # 1. Go through the rows.
    for row in grid:
        # 2. Swap 5 and 8, keep the other colors.
        new_row = [swap.get(cell, cell) for cell in row]
        # 3. Add the new row.
        output.append(new_row)
    result = output
    return result
