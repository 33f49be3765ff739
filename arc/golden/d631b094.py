def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input is 3x3 and the output has one row.
    2. The input has only one color besides 0.
    3. The output has only this color.
    4. The output is as wide as the number of cells with this color.
    Procedure:
    1. Collect all cells that are not 0.
    2. Return them as one row.
    """
    # 1. Collect all cells that are not 0.
    cells = [cell for row in grid for cell in row if cell != 0]
    # 2. Return them as one row.
    result = [cells]
    return result
