def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color, and the input has one cell of another color: a dot.
    3. The dot moves down by one row.
    4. Above the new place of the dot there are vertical lines of color 4, from the first row to the
       old row of the dot.
    5. The lines are in the column of the dot and in every second column to the left and right.
    Procedure:
    1. Find the background and the dot.
    2. Set each cell in or above the row of the dot to 4, if its column is an even number of columns
       away from the dot. Set the others to the background.
    3. Draw the dot one row further down.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background and the dot.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    output = [list(row) for row in grid]
    for row in range(height):
        for column in range(width):
            color = grid[row][column]
            if color == background:
                continue
            # 2. Set each cell in or above the row of the dot to 4, if its column is an even number
            #    of columns away from the dot. Set the others to the background.
            for r in range(row + 1):
                for c in range(width):
                    output[r][c] = 4 if (c - column) % 2 == 0 else background
            # 3. Draw the dot one row further down.
            if row + 1 < height:
                output[row + 1][column] = color
    result = output
    return result
