def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size; the background is the most common color.
    2. The input has a horizontal and a vertical line from edge to edge, in two different colors,
       each one or more cells thick.
    3. All cells outside the lines are background.
    4. Where the lines cross, one of them lies on top of the other.
    5. In the output the other one lies on top; nothing else changes.
    Procedure:
    1. Find the background: the most common color.
    2. List the rows without background, which are the horizontal line, and the columns without
       background, which are the vertical line.
    3. The crossing is all cells in a listed row and a listed column.
    4. Take the color of the horizontal line from a cell in a listed row, but in no listed column.
    5. Take the color of the vertical line from a cell in a listed column, but in no listed row.
    6. If the crossing has the horizontal line's color, give it the vertical line's color; else give
       it the horizontal line's color.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    flat = [cell for row in grid for cell in row]
    background = max(set(flat), key=flat.count)
    # 2. List the rows without background, which are the horizontal line, and the columns without
    #    background, which are the vertical line.
    rows = [r for r in range(height) if background not in grid[r]]
    columns = [c for c in range(width) if background not in [row[c] for row in grid]]
    # 3. The crossing is all cells in a listed row and a listed column.
    crossing = [(r, c) for r in rows for c in columns]
    # 4. Take the color of the horizontal line from a cell in a listed row, but in no listed column.
    horizontal = [grid[rows[0]][c] for c in range(width) if c not in columns][0]
    # 5. Take the color of the vertical line from a cell in a listed column, but in no listed row.
    vertical = [grid[r][columns[0]] for r in range(height) if r not in rows][0]
    # 6. If the crossing has the horizontal line's color, give it the vertical line's color; else
    #    give it the horizontal line's color.
    output = [row[:] for row in grid]
    for r, c in crossing:
        output[r][c] = vertical if grid[r][c] == horizontal else horizontal
    result = output
    return result
