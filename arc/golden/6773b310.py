def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. Full rows and columns of one color, one cell thick, cut the grid into rooms.
    2. The cells of the rooms are background, the most common color outside the lines, or dots of
       another color.
    3. The output has one cell for each room, in the same arrangement.
    4. A room has no, one or more dots. If it has at least two, its output cell is 1; otherwise it
       has the background color.
    Procedure:
    1. Find the full rows and the full columns, and split all other row and column numbers at them
       into runs. A room is a run of rows with a run of columns.
    2. Find the most common color of the cells outside the lines, the background.
    3. Count the cells of each room that are not background.
    4. Write 1 for each room with at least two of them, and the background for the others.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the full rows and the full columns, and split all other row and column numbers at
    # them into runs. A room is a run of rows with a run of columns.
    row_runs = [[]]
    for r in range(height):
        if len(set(grid[r])) == 1:
            row_runs.append([])
        else:
            row_runs[-1].append(r)
    column_runs = [[]]
    for c in range(width):
        if len(set(row[c] for row in grid)) == 1:
            column_runs.append([])
        else:
            column_runs[-1].append(c)
    # 2. Find the most common color of the cells outside the lines, the background.
    cells = []
    for rows in row_runs:
        for columns in column_runs:
            cells += [grid[r][c] for r in rows for c in columns]
    background = max(set(cells), key=cells.count)
    output = []
    for rows in row_runs:
        line = []
        for columns in column_runs:
            # 3. Count the cells of each room that are not background.
            count = 0
            for r in rows:
                for c in columns:
                    if grid[r][c] != background:
                        count += 1
            # 4. Write 1 for each room with at least two of them, and the background for the
            # others.
            line.append(1 if count >= 2 else background)
        output.append(line)
    result = output
    return result
