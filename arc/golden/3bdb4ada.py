def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size, and the background is the most common color.
    2. The input has filled rectangles of one color each.
    3. The rectangles are 3 rows high, or else they are 3 columns wide.
    4. Only the line in the middle of a rectangle changes, along its long side.
    5. In this line every second cell becomes background: the second, the fourth and so on.
    6. These are the cells that are an odd number of rows below the top and an odd number of
       columns right of the left side.
    Procedure:
    1. Find the background.
    2. Go through the cells. A rectangle starts at a cell whose left and upper neighbors do not
       have its color.
    3. Follow its sides to the right and down to find its last column and its last row.
    4. Starting one row below and one column to the right, set every second cell of every second
       row to the background.
    """
    height = len(grid)
    width = len(grid[0])
    output = [list(row) for row in grid]
    # 1. Find the background.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    # 2. Go through the cells. A rectangle starts at a cell whose left and upper neighbors do not
    #    have its color.
    for r in range(height):
        for c in range(width):
            color = grid[r][c]
            starts_left = c == 0 or grid[r][c - 1] != color
            starts_top = r == 0 or grid[r - 1][c] != color
            if color == background or not starts_left or not starts_top:
                continue
            # 3. Follow its sides to the right and down to find its last column and its last row.
            right = c
            while right + 1 < width and grid[r][right + 1] == color:
                right += 1
            bottom = r
            while bottom + 1 < height and grid[bottom + 1][c] == color:
                bottom += 1
            # 4. Starting one row below and one column to the right, set every second cell of every
            #    second row to the background.
            for y in range(r + 1, bottom + 1, 2):
                for x in range(c + 1, right + 1, 2):
                    output[y][x] = background
    result = output
    return result
