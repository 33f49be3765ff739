def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output are 3x3.
    2. The output has only one color.
    3. The color of the output appears three times in the input.
    4. It is the most common color of the input.
    Procedure:
    1. List all cells of the input.
    2. Find the most common color.
    3. Fill a 3x3 grid with this color.
    """
    # 1. List all cells of the input.
    cells = [cell for row in grid for cell in row]
    # 2. Find the most common color.
    color = max(cells, key=cells.count)
    # 3. Fill a 3x3 grid with this color.
    result = [[color] * 3 for _ in range(3)]
    return result
