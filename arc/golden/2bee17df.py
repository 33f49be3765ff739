def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. Two colors form a ragged frame along the whole border of the grid, with bumps that reach
       into the empty inner part.
    3. All other cells have one other color, the background.
    4. The output has the new color 3, on straight lines that run from frame to frame.
    5. A row is filled with 3 if, between its first and its last cell, it has only background.
    6. A column is filled with 3 in the same way. The cells of the frame are kept.
    Procedure:
    1. Collect the colors of the border of the grid; they are the frame.
    2. List the rows that have no color of the frame between their first and last cell.
    3. List the columns that have no color of the frame between their first and last cell.
    4. Fill the inner cells of these rows and columns that are not frame with 3.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Collect the colors of the border of the grid; they are the frame.
    frame = set(grid[0]) | set(grid[-1])
    for row in grid:
        frame.add(row[0])
        frame.add(row[-1])
    # 2. List the rows that have no color of the frame between their first and last cell.
    free_rows = []
    for r in range(1, height - 1):
        if all(grid[r][c] not in frame for c in range(1, width - 1)):
            free_rows.append(r)
    # 3. List the columns that have no color of the frame between their first and last cell.
    free_columns = []
    for c in range(1, width - 1):
        if all(grid[r][c] not in frame for r in range(1, height - 1)):
            free_columns.append(c)
    # 4. Fill the inner cells of these rows and columns that are not frame with 3.
    output = [list(row) for row in grid]
    for r in range(1, height - 1):
        for c in range(1, width - 1):
            if grid[r][c] not in frame and (r in free_rows or c in free_columns):
                output[r][c] = 3
    result = output
    return result
