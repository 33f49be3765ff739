def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size, and the background is the most common color.
    2. The input has filled rectangles of one color each.
    3. The cells on the edge of a rectangle stay the same.
    4. The cells inside a rectangle become background.
    5. A cell is inside if all four neighbors, above, below, left and right, have its color.
    Procedure:
    1. Copy the input and find the background.
    2. Go through the cells that are not on the border of the grid.
    3. Compare the cell with its four neighbors.
    4. If all have its color, set it to the background.
    """
    # 1. Copy the input and find the background.
    output = [list(row) for row in grid]
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    # 2. Go through the cells that are not on the border of the grid.
    for r in range(1, len(grid) - 1):
        for c in range(1, len(grid[0]) - 1):
            # 3. Compare the cell with its four neighbors.
            neighbors = [grid[r - 1][c], grid[r + 1][c], grid[r][c - 1], grid[r][c + 1]]
            # 4. If all have its color, set it to the background.
            if all(neighbor == grid[r][c] for neighbor in neighbors):
                output[r][c] = background
    result = output
    return result
