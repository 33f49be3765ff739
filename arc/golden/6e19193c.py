def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color.
    3. The input has pieces of three cells: a square of 2x2 cells without one cell.
    4. From each piece a diagonal line of its color goes to the border of the grid.
    5. The line points from the piece over the missing cell, and it starts right behind this cell.
       The missing cell itself stays background.
    Procedure:
    1. Find the background.
    2. Look for the pieces: 2x2 windows with three cells of one color and one background cell.
    3. The line goes up if the missing cell is in the top row of the window, else down.
    4. It goes to the left if the missing cell is in the left column, else to the right.
    5. Start diagonally behind the missing cell, and color the background cells on the way.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    output = [list(row) for row in grid]
    # 2. Look for the pieces: 2x2 windows with three cells of one color and one background cell.
    for r in range(height - 1):
        for c in range(width - 1):
            window = [grid[r][c], grid[r][c + 1], grid[r + 1][c], grid[r + 1][c + 1]]
            if window.count(background) != 1 or len(set(window)) != 2:
                continue
            missing = window.index(background)
            color = window[missing - 1]
            # 3. The line goes up if the missing cell is in the top row of the window, else down.
            dr = -1 if missing < 2 else 1
            # 4. It goes to the left if the missing cell is in the left column, else to the right.
            dc = -1 if missing % 2 == 0 else 1
            # 5. Start diagonally behind the missing cell, and color the background cells on the
            #    way.
            y = r + missing // 2 + dr
            x = c + missing % 2 + dc
            while 0 <= y < height and 0 <= x < width:
                if grid[y][x] == background:
                    output[y][x] = color
                y, x = y + dr, x + dc
    result = output
    return result
