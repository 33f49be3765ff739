def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The most common color is the background; all other cells are called colored.
    3. Some colored cells stand alone, others touch each other by a side or a corner.
    4. In the output the cells that stand alone are gone; all others are kept.
    Procedure:
    1. Find the background.
    2. For each colored cell, count the colored cells among its eight neighbors.
    3. If there are none, set the cell to the background.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [value for row in grid for value in row]
    background = max(set(cells), key=cells.count)
    output = [list(row) for row in grid]
    for r in range(height):
        for c in range(width):
            if grid[r][c] == background:
                continue
            # 2. For each colored cell, count the colored cells among its eight neighbors.
            count = 0
            for nr in range(max(r - 1, 0), min(r + 2, height)):
                for nc in range(max(c - 1, 0), min(c + 2, width)):
                    if (nr, nc) != (r, c) and grid[nr][nc] != background:
                        count += 1
            # 3. If there are none, set the cell to the background.
            if count == 0:
                output[r][c] = background
    result = output
    return result
