def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color.
    3. The input is all background but for ends of some rows: cells in its first or last column.
    4. It may be turned: then its colors are ends of columns, in the first or last row.
    5. Each color fills the half of its row, up to the middle cell, which becomes 5.
    6. The number of cells from end to end is odd, and rows without a color stay the same.
    Procedure:
    1. Find the background.
    2. If a color is in neither the first nor the last column, swap rows and columns.
    3. In each row with a color draw the left color, then 5, then the right color.
    4. If rows and columns were swapped, swap them back.
    """
    # 1. Find the background.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    # 2. If a color is in neither the first nor the last column, swap rows and columns.
    inner = [cell for row in grid for cell in row[1:-1]]
    turned = any(cell != background for cell in inner)
    rows = [list(column) for column in zip(*grid)] if turned else grid
    half = len(rows[0]) // 2
    output = []
    for row in rows:
        # 3. In each row with a color draw the left color, then 5, then the right color.
        if row[0] != background or row[-1] != background:
            output.append([row[0]] * half + [5] + [row[-1]] * half)
        else:
            output.append(list(row))
    # 4. If rows and columns were swapped, swap them back.
    result = [list(column) for column in zip(*output)] if turned else output
    return result
