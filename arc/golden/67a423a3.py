def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color.
    3. The input has one horizontal and one vertical band from border to border. A band has one
       color and may be one or more cells thick.
    4. The output is the input with a ring of 4: all cells around the crossing of the bands, side by
       side or corner to corner.
    5. The crossing itself stays the same.
    Procedure:
    1. Find the background.
    2. Find the rows and the columns without background: the bands.
    3. Go through the cells from one row above the horizontal band to one row below it, and from one
       column left of the vertical band to one column right of it.
    4. Set them to 4, but leave the crossing as it is.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    # 2. Find the rows and the columns without background: the bands.
    rows = [r for r in range(height) if background not in grid[r]]
    columns = [c for c in range(width) if all(line[c] != background for line in grid)]
    output = [list(line) for line in grid]
    # 3. Go through the cells from one row above the horizontal band to one row below it, and from
    #    one column left of the vertical band to one column right of it.
    for r in range(max(rows[0] - 1, 0), min(rows[-1] + 2, height)):
        for c in range(max(columns[0] - 1, 0), min(columns[-1] + 2, width)):
            # 4. Set them to 4, but leave the crossing as it is.
            if r not in rows or c not in columns:
                output[r][c] = 4
    result = output
    return result
