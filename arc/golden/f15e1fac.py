def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size; the background is the most common color.
    2. One edge of the grid has cells of a color that is not 2, the sources.
    3. An edge at a right angle to it has cells of color 2, the marks; no corner cell is colored.
    4. In the output a ray goes from each source across the grid to the opposite edge, in the color
       of the source.
    5. If the sources are at the top: in each row that has a mark, all rays move over by one cell,
       away from the edge with the marks, and go on straight down from there.
    6. A ray that moves out of the grid ends. The marks stay.
    7. If the sources are at another edge, it is the same with the grid turned.
    Procedure:
    1. Find the background: the most common color.
    2. If the marks are in the top or the bottom row, swap rows and columns, so that the marks are
       at the left or right and the sources at the top or bottom.
    3. If the sources are in the bottom row, reverse the order of the rows.
    4. The rays move to the right if the marks are in the first column, else to the left.
    5. Go down row by row, and count the rows with a mark so far, this row included.
    6. In each row color, for each source, the cell that is moved over by this count, if it is in
       the grid.
    7. Undo the steps 3 and 2.
    """
    # 1. Find the background: the most common color.
    flat = [cell for row in grid for cell in row]
    background = max(set(flat), key=flat.count)
    # 2. If the marks are in the top or the bottom row, swap rows and columns, so that the marks are
    #    at the left or right and the sources at the top or bottom.
    swapped = 2 in grid[0] or 2 in grid[-1]
    if swapped:
        grid = [list(column) for column in zip(*grid)]
    # 3. If the sources are in the bottom row, reverse the order of the rows.
    reverse = set(grid[0]) == {background}
    if reverse:
        grid = grid[::-1]
    width = len(grid[0])
    # 4. The rays move to the right if the marks are in the first column, else to the left.
    direction = 1 if 2 in [row[0] for row in grid] else -1
    output = [row[:] for row in grid]
    count = 0
    for r in range(len(grid)):
        # 5. Go down row by row, and count the rows with a mark so far, this row included.
        if 2 in grid[r]:
            count += 1
        # 6. In each row color, for each source, the cell that is moved over by this count, if it is
        #    in the grid.
        for c in range(width):
            place = c + direction * count
            if grid[0][c] != background and 0 <= place < width:
                output[r][place] = grid[0][c]
    # 7. Undo the steps 3 and 2.
    if reverse:
        output = output[::-1]
    if swapped:
        output = [list(column) for column in zip(*output)]
    result = output
    return result
