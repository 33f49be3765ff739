def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. Most cells of the input are 1, and the output has no 1.
    2. The output is the smallest box of the input that holds all cells that are not 1.
    3. In the box each 1 becomes 0, the other colors stay the same.
    Procedure:
    1. Find the rows and the columns that have a cell that is not 1.
    2. Cut out the box from the first to the last of them.
    3. Replace 1 by 0.
    """
    # 1. Find the rows and the columns that have a cell that is not 1.
    rows = [r for r in range(len(grid)) if set(grid[r]) != {1}]
    columns = [c for c in range(len(grid[0])) if any(row[c] != 1 for row in grid)]
    # 2. Cut out the box from the first to the last of them.
    box = [row[columns[0] : columns[-1] + 1] for row in grid[rows[0] : rows[-1] + 1]]
    # 3. Replace 1 by 0.
    result = [[0 if cell == 1 else cell for cell in row] for row in box]
    return result
