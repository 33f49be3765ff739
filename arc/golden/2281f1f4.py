def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The most common color is the background; all other cells have one color, the markers.
    3. Some markers lie in the first or in the last row, the others in the first or in the last
       column; all other cells are background. At least one marker of the former is not in a
       corner.
    4. In the output a cell is 2 where the column of a marker of the first kind crosses the row of
       a marker of the second kind. The markers are kept.
    Procedure:
    1. Find the background.
    2. Find the row of markers: the first or the last row, whichever has markers that are not in a
       corner.
    3. Find the column of markers: the first or the last column, whichever has markers outside the
       row of markers.
    4. For each marker of the row and each marker of the column, color the cell in the column of
       the former and in the row of the latter with 2.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [value for row in grid for value in row]
    background = max(set(cells), key=cells.count)
    # 2. Find the row of markers: the first or the last row, whichever has markers that are not in
    # a corner.
    marker_row = 0
    for r in (0, height - 1):
        if any(grid[r][c] != background for c in range(1, width - 1)):
            marker_row = r
    # 3. Find the column of markers: the first or the last column, whichever has markers outside
    # the row of markers.
    marker_column = 0
    for c in (0, width - 1):
        if any(grid[r][c] != background for r in range(height) if r != marker_row):
            marker_column = c
    # 4. For each marker of the row and each marker of the column, color the cell in the column of
    # the former and in the row of the latter with 2.
    output = [list(row) for row in grid]
    for r in range(height):
        for c in range(width):
            if r == marker_row or c == marker_column:
                continue
            if grid[marker_row][c] != background and grid[r][marker_column] != background:
                output[r][c] = 2
    result = output
    return result
