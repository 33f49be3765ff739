def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color.
    3. The input has one rectangular frame of one color, one cell thick. All other colors are in its
       four inner corners.
    4. In the output the inside of the frame is empty.
    5. Each colored cell moves out: it comes diagonally beside the opposite corner of the frame.
    6. So the cell of the top left corner comes to the outside of the bottom right corner, and so
       on.
    Procedure:
    1. Find the background.
    2. Find the first and the last row and column of the frame.
    3. Read the colors of the four inner corners and replace them by background.
    4. Write each color diagonally outside of the opposite corner, if that is on the grid.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    # 2. Find the first and the last row and column of the frame.
    rows = [r for r in range(height) if set(grid[r]) != {background}]
    columns = [c for c in range(width) if any(row[c] != background for row in grid)]
    top, bottom = rows[0], rows[-1]
    left, right = columns[0], columns[-1]
    output = [list(row) for row in grid]
    # 3. Read the colors of the four inner corners and replace them by background.
    for r, opposite_row in ((top + 1, bottom + 1), (bottom - 1, top - 1)):
        for c, opposite_column in ((left + 1, right + 1), (right - 1, left - 1)):
            output[r][c] = background
            # 4. Write each color diagonally outside of the opposite corner, if that is on the grid.
            if 0 <= opposite_row < height and 0 <= opposite_column < width:
                output[opposite_row][opposite_column] = grid[r][c]
    result = output
    return result
