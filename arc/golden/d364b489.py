def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The input has single cells of one color on a background, the most common color. They stay
       the same.
    3. In the output the four neighbors of each of them are colored, if they are on the grid. No two
       of the cells have a common neighbor.
    4. The cell above becomes 2, the cell below 8, the cell on the left 7, the one on the right 6.
    Procedure:
    1. Find the background.
    2. Go through the cells that are not background.
    3. Look at the cells above, below, on the left and on the right.
    4. If such a cell is background, give it the color of its direction: 2, 8, 7 or 6.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    output = [list(row) for row in grid]
    # 2. Go through the cells that are not background.
    for r in range(height):
        for c in range(width):
            if grid[r][c] == background:
                continue
            # 3. Look at the cells above, below, on the left and on the right.
            neighbors = [(r - 1, c, 2), (r + 1, c, 8), (r, c - 1, 7), (r, c + 1, 6)]
            for y, x, color in neighbors:
                # 4. If such a cell is background, give it the color of its direction: 2, 8, 7 or
                #    6.
                if 0 <= y < height and 0 <= x < width and grid[y][x] == background:
                    output[y][x] = color
    result = output
    return result
