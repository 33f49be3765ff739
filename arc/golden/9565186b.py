def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output are 3x3.
    2. One color stays the same: the most common color of the input.
    3. All other cells become 5.
    Procedure:
    1. List all cells of the input.
    2. Find the most common color.
    3. Keep this color and set all other cells to 5.
    """
    # 1. List all cells of the input.
    cells = [cell for row in grid for cell in row]
    # 2. Find the most common color.
    color = max(cells, key=cells.count)
    # 3. Keep this color and set all other cells to 5.
    result = [[cell if cell == color else 5 for cell in row] for row in grid]
    return result
