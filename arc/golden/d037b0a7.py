def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color.
    3. The first row and all cells that are not background stay the same.
    4. A background cell gets the color of the output cell above it.
    Procedure:
    1. Copy the input and find the background.
    2. Go down from the second row.
    3. Fill each background cell with the color of the cell above it.
    """
    # 1. Copy the input and find the background.
    output = [list(row) for row in grid]
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    # 2. Go down from the second row.
    for r in range(1, len(grid)):
        for c in range(len(grid[0])):
            # 3. Fill each background cell with the color of the cell above it.
            if output[r][c] == background:
                output[r][c] = output[r - 1][c]
    result = output
    return result
