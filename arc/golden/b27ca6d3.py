def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The most common color is the background; there is one other color.
    3. The cells of the other color stand alone or in pairs of two that share a side.
    4. In the output the pairs have got a border of color 3: all background cells that touch the
       pair by a side or a corner.
    5. The cells that stand alone do not change.
    Procedure:
    1. Find the background.
    2. For each cell that is not background, collect the group of such cells that are connected
       with it by sides.
    3. If the group has exactly two cells, color all background cells around its cells, also at
       the corners, with 3.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [value for row in grid for value in row]
    background = max(set(cells), key=cells.count)
    output = [list(row) for row in grid]
    for row in range(height):
        for column in range(width):
            if grid[row][column] == background:
                continue
            # 2. For each cell that is not background, collect the group of such cells that are
            # connected with it by sides.
            group = [(row, column)]
            for r, c in group:
                for nr, nc in [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]:
                    if not (0 <= nr < height and 0 <= nc < width) or (nr, nc) in group:
                        continue
                    if grid[nr][nc] != background:
                        group.append((nr, nc))
            # 3. If the group has exactly two cells, color all background cells around its cells,
            # also at the corners, with 3.
            if len(group) != 2:
                continue
            for r, c in group:
                for nr in range(max(r - 1, 0), min(r + 2, height)):
                    for nc in range(max(c - 1, 0), min(c + 2, width)):
                        if grid[nr][nc] == background:
                            output[nr][nc] = 3
    result = output
    return result
