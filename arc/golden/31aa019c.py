def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The input has many single cells of several colors on a background, the most common color.
    3. Exactly one color comes only once.
    4. In the output all other cells become background.
    5. The cell of this color stays, and it gets a ring of color 2: the eight cells around it.
    Procedure:
    1. Find the background and the color that comes only once.
    2. Find the cell with this color.
    3. Make an output of background.
    4. Set the cell and all cells that touch it to 2.
    5. Give the cell its color back.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background and the color that comes only once.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    color = min(cells, key=cells.count)
    # 2. Find the cell with this color.
    row = next(r for r in range(height) if color in grid[r])
    column = grid[row].index(color)
    # 3. Make an output of background.
    output = [[background] * width for _ in range(height)]
    # 4. Set the cell and all cells that touch it to 2.
    for r in range(max(row - 1, 0), min(row + 2, height)):
        for c in range(max(column - 1, 0), min(column + 2, width)):
            output[r][c] = 2
    # 5. Give the cell its color back.
    output[row][column] = color
    result = output
    return result
