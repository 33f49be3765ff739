def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color.
    3. The input has single colored cells, at most one in each row.
    4. From each of them a line of its color goes to the right border of the grid.
    5. There it turns down and goes on in the last column, until it comes to the row of the next
       colored cell or to the bottom.
    Procedure:
    1. Find the background.
    2. Go through the rows from top to bottom, and remember the color of the last colored cell.
    3. If the row has a colored cell, color all cells from it to the right end of the row.
    4. If it has none, give the last cell of the row the remembered color.
    """
    # 1. Find the background.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    output = [list(row) for row in grid]
    # 2. Go through the rows from top to bottom, and remember the color of the last colored cell.
    color = background
    for row in output:
        colored = [c for c, cell in enumerate(row) if cell != background]
        # 3. If the row has a colored cell, color all cells from it to the right end of the row.
        if colored:
            color = row[colored[0]]
            for c in range(colored[0], len(row)):
                row[c] = color
        # 4. If it has none, give the last cell of the row the remembered color.
        else:
            row[-1] = color
    result = output
    return result
