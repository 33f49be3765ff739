def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The background of the input is its most common color.
    2. The output is the smallest box of the input that holds all cells that are not background.
    3. In the box the background becomes 0, the other colors stay the same.
    Procedure:
    1. Find the background.
    2. Find the rows and the columns that have a cell that is not background.
    3. Cut out the box from the first to the last of them.
    4. Replace the background by 0.
    """
    # 1. Find the background.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    # 2. Find the rows and the columns that have a cell that is not background.
    rows = [r for r in range(len(grid)) if set(grid[r]) != {background}]
    columns = [c for c in range(len(grid[0])) if any(row[c] != background for row in grid)]
    # 3. Cut out the box from the first to the last of them.
    box = [row[columns[0] : columns[-1] + 1] for row in grid[rows[0] : rows[-1] + 1]]
    # 4. Replace the background by 0.
    result = [[0 if cell == background else cell for cell in row] for row in box]
    return result
