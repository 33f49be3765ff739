def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is the most common color.
    2. There are cells of one other color, in rows of two or more with one background cell between.
    3. These cells stay the same.
    4. The background cells between two of them become 2.
    Procedure:
    1. Find the background: the most common color.
    2. Go through the background cells that are not in the first or last column.
    3. If both the cell to the left and the cell to the right are not background, color the cell
       with 2.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)
    output = [list(row) for row in grid]
    # 2. Go through the background cells that are not in the first or last column.
    for r in range(height):
        for c in range(1, width - 1):
            if grid[r][c] != background:
                continue
            # 3. If both the cell to the left and the cell to the right are not background, color
            #    the cell with 2.
            if background not in (grid[r][c - 1], grid[r][c + 1]):
                output[r][c] = 2
    result = output
    return result
