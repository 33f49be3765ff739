def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. Cells that are not 0 stay the same.
    3. The color 1 spreads: each 0 that is next to a 1, above, below, left or right, becomes 1.
    4. It spreads on from these new cells, until no 0 is next to a 1.
    Procedure:
    1. Copy the input.
    2. List all cells of color 1.
    3. Go through the list and look at the four neighbors of each cell.
    4. If a neighbor is 0, set it to 1 and add it to the end of the list.
    """
    # 1. Copy the input.
    output = [list(row) for row in grid]
    # 2. List all cells of color 1.
    ones = []
    for r, row in enumerate(grid):
        for c, cell in enumerate(row):
            if cell == 1:
                ones.append((r, c))
    # 3. Go through the list and look at the four neighbors of each cell.
    for r, c in ones:
        for y, x in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)):
            inside = 0 <= y < len(grid) and 0 <= x < len(grid[0])
            # 4. If a neighbor is 0, set it to 1 and add it to the end of the list.
            if inside and output[y][x] == 0:
                output[y][x] = 1
                ones.append((y, x))
    result = output
    return result
