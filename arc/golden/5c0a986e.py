def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color.
    3. The input has squares of 2x2 cells, in color 1 or in color 2. They stay the same.
    4. A square of color 1 draws a diagonal line of 1 up and to the left, from its top left cell to
       the border of the grid.
    5. A square of color 2 draws a diagonal line of 2 down and to the right, from its bottom right
       cell to the border.
    Procedure:
    1. Find the background.
    2. Look for squares: 2x2 windows with only the color 1 or only the color 2.
    3. For the color 1 start in the top left cell and go up and to the left.
    4. For the color 2 start in the bottom right cell and go down and to the right.
    5. Color the background cells on the way, up to the border.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    output = [list(row) for row in grid]
    # 2. Look for squares: 2x2 windows with only the color 1 or only the color 2.
    for r in range(height - 1):
        for c in range(width - 1):
            window = set(grid[r][c : c + 2] + grid[r + 1][c : c + 2])
            y, x, step = r, c, 0
            # 3. For the color 1 start in the top left cell and go up and to the left.
            if window == {1}:
                y, x, step = r - 1, c - 1, -1
            # 4. For the color 2 start in the bottom right cell and go down and to the right.
            if window == {2}:
                y, x, step = r + 2, c + 2, 1
            # 5. Color the background cells on the way, up to the border.
            while step != 0 and 0 <= y < height and 0 <= x < width:
                if grid[y][x] == background:
                    output[y][x] = grid[r][c]
                y, x = y + step, x + step
    result = output
    return result
