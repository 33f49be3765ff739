def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is the most common color.
    2. There is one filled rectangle, the block, at least 2 cells high and wide. There are some
       single cells of another color, the dots.
    3. The block does not move.
    4. Each dot lies straight above, below, left or right of the block, or on a diagonal that leads
       to one of its corners.
    5. In the output it has moved towards the block until it touches it, by a side or by a corner.
    Procedure:
    1. Find the background and the block: the cells of another color that fill a 2x2 square.
    2. Find the first and last row and the first and last column of the block. Take them together
       with one more row or column on each side.
    3. For each dot: if its row is above these rows, the new row is the first of them. If it is
       below, the new row is the last of them. Else the row stays.
    4. Find the new column in the same way.
    5. Remove the dots and draw them at their new places.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background and the block: the cells of another color that fill a 2x2 square.
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)
    block = set()
    for r in range(height - 1):
        for c in range(width - 1):
            square = [(r, c), (r, c + 1), (r + 1, c), (r + 1, c + 1)]
            if grid[r][c] != background and len({grid[y][x] for y, x in square}) == 1:
                block.update(square)
    # 2. Find the first and last row and the first and last column of the block. Take them together
    #    with one more row or column on each side.
    rows = [r for r, c in block]
    columns = [c for r, c in block]
    top, bottom = min(rows) - 1, max(rows) + 1
    left, right = min(columns) - 1, max(columns) + 1
    output = [[background] * width for row in grid]
    for r in range(height):
        for c in range(width):
            if (r, c) in block:
                output[r][c] = grid[r][c]
            elif grid[r][c] != background:
                # 3. For each dot: if its row is above these rows, the new row is the first of
                #    them. If it is below, the new row is the last of them. Else the row stays.
                new_r = min(max(r, top), bottom)
                # 4. Find the new column in the same way.
                new_c = min(max(c, left), right)
                # 5. Remove the dots and draw them at their new places.
                output[new_r][new_c] = grid[r][c]
    result = output
    return result
