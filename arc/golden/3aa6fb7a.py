def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color.
    3. The input has pieces of three cells: a square of 2x2 cells without one cell.
    4. All cells of the input stay the same, but the missing cell of each piece becomes 1.
    Procedure:
    1. Find the background and copy the input.
    2. Go through all 2x2 windows of the grid.
    3. If three cells of the window have one color and one cell is background, it holds a piece.
    4. Set the background cell of this window to 1.
    """
    # 1. Find the background and copy the input.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    output = [list(row) for row in grid]
    # 2. Go through all 2x2 windows of the grid.
    for r in range(len(grid) - 1):
        for c in range(len(grid[0]) - 1):
            window = [grid[r][c], grid[r][c + 1], grid[r + 1][c], grid[r + 1][c + 1]]
            # 3. If three cells of the window have one color and one cell is background, it holds
            #    a piece.
            if window.count(background) == 1 and len(set(window)) == 2:
                # 4. Set the background cell of this window to 1.
                missing = window.index(background)
                output[r + missing // 2][c + missing % 2] = 1
    result = output
    return result
