def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The output has only one color.
    3. It is the most common color of the input.
    Procedure:
    1. List all cells of the input.
    2. Find the most common color.
    3. Fill a grid of the same size with this color.
    """
    # 1. List all cells of the input.
    cells = [cell for row in grid for cell in row]
    # 2. Find the most common color.
    color = max(cells, key=cells.count)
    # 3. Fill a grid of the same size with this color.
    result = [[color] * len(row) for row in grid]
    return result
