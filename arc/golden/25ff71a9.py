def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color.
    3. All rows move down by one row, and the last row moves out at the bottom.
    4. The first row of the output is all background.
    Procedure:
    1. Find the background.
    2. Start with a row of the background.
    3. Add all rows of the input but the last.
    """
    # 1. Find the background.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    # 2. Start with a row of the background.
    first = [background] * len(grid[0])
    # 3. Add all rows of the input but the last.
    result = [first] + [list(row) for row in grid[:-1]]
    return result
