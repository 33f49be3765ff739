def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input has the colors 0, 2 and 8, and the output is 1x1: it is 8 or 0.
    2. There are two squares of 2x2 cells of color 2.
    3. A step goes from a cell to one of the eight cells around it.
    4. The output is 8 if one can walk from one square to the other over cells that are not 0.
    5. Else the output is 0.
    Procedure:
    1. Start with the first cell of color 2.
    2. Add each cell that is not 0 and touches an added cell, until there is no more.
    3. Look whether all cells of color 2 were added.
    4. Return 8 if so, else 0.
    """
    # 1. Start with the first cell of color 2.
    twos = [(r, c) for r, row in enumerate(grid) for c, cell in enumerate(row) if cell == 2]
    reached = [twos[0]]
    seen = set(reached)
    # 2. Add each cell that is not 0 and touches an added cell, until there is no more.
    for r, c in reached:
        for y in range(max(r - 1, 0), min(r + 2, len(grid))):
            for x in range(max(c - 1, 0), min(c + 2, len(grid[0]))):
                if grid[y][x] != 0 and (y, x) not in seen:
                    seen.add((y, x))
                    reached.append((y, x))
    # 3. Look whether all cells of color 2 were added.
    joined = all(two in seen for two in twos)
    # 4. Return 8 if so, else 0.
    result = [[8]] if joined else [[0]]
    return result
