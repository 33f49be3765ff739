def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output is small.
    2. The input is a lattice: full rows and columns of the line color, with square fields of the
       background color between them.
    3. The line color is in every row and in every column; the background is not.
    4. At some crossings of the lines there is a cell of another color.
    5. The colored crossings fill a rectangular part of the lattice, perhaps with gaps.
    6. The output has a cell for each field between four neighboring crossings of this part.
    7. The cell is colored if its four crossings have the same color, not that of the lines.
    Procedure:
    1. Find the line color: the one that is in every row and in every column.
    2. The background is the most common of the other colors.
    3. List the rows and the columns without background: these are the lines.
    4. Find the first and last line, in both directions, that has a crossing of another color.
    5. For each field of this part look at the crossings at its four corners.
    6. If they all have one color, which is not the line color, the cell of the output has it;
       else the cell is background.
    """
    columns = [list(column) for column in zip(*grid)]
    # 1. Find the line color: the one that is in every row and in every column.
    flat = [cell for row in grid for cell in row]
    for color in set(flat):
        if all(color in line for line in grid + columns):
            line_color = color
    # 2. The background is the most common of the other colors.
    others = [cell for cell in flat if cell != line_color]
    background = max(set(others), key=others.count)
    # 3. List the rows and the columns without background: these are the lines.
    line_rows = [r for r in range(len(grid)) if background not in grid[r]]
    line_columns = [c for c in range(len(columns)) if background not in columns[c]]
    crossings = [[grid[r][c] for c in line_columns] for r in line_rows]
    # 4. Find the first and last line, in both directions, that has a crossing of another color.
    places = []
    for i in range(len(line_rows)):
        for j in range(len(line_columns)):
            if crossings[i][j] != line_color:
                places.append((i, j))
    top, bottom = min(i for i, j in places), max(i for i, j in places)
    left, right = min(j for i, j in places), max(j for i, j in places)
    # 5. For each field of this part look at the crossings at its four corners.
    output = []
    for i in range(top, bottom):
        row = []
        for j in range(left, right):
            corners = crossings[i][j:j + 2] + crossings[i + 1][j:j + 2]
            # 6. If they all have one color, which is not the line color, the cell of the output has
            #    it; else the cell is background.
            if len(set(corners)) == 1 and corners[0] != line_color:
                row.append(corners[0])
            else:
                row.append(background)
        output.append(row)
    result = output
    return result
