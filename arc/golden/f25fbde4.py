def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The background is the most common color, and the other cells are one figure.
    2. The output is the smallest box around the figure, twice as high and twice as wide.
    3. Each cell of the box becomes a block of 2x2 cells of its color.
    Procedure:
    1. Find the background.
    2. Find the rows and the columns that have a cell that is not background.
    3. Cut out the box from the first to the last of them.
    4. Write each cell of a row twice, and each row twice.
    """
    # 1. Find the background.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    # 2. Find the rows and the columns that have a cell that is not background.
    rows = [r for r, row in enumerate(grid) if set(row) != {background}]
    columns = [c for c, column in enumerate(zip(*grid)) if set(column) != {background}]
    # 3. Cut out the box from the first to the last of them.
    box = [row[columns[0] : columns[-1] + 1] for row in grid[rows[0] : rows[-1] + 1]]
    # 4. Write each cell of a row twice, and each row twice.
    output = []
    for row in box:
        wide = [cell for cell in row for _ in range(2)]
        output.append(wide)
        output.append(list(wide))
    result = output
    return result
