def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The most common color is the background.
    3. There are single cells of several colors, 3 and 2 among them.
    4. Where a 3 and a 2 touch by a side, the 3 has become 8 in the output, and the 2 is gone.
    5. All other cells are unchanged.
    Procedure:
    1. Find the background.
    2. For each 3, look at its neighbors by side.
    3. If one of them is 2, set the 3 to 8 and this neighbor to the background.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [value for row in grid for value in row]
    background = max(set(cells), key=cells.count)
    output = [list(row) for row in grid]
    for r in range(height):
        for c in range(width):
            # 2. For each 3, look at its neighbors by side.
            if grid[r][c] != 3:
                continue
            for nr, nc in [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]:
                if not (0 <= nr < height and 0 <= nc < width):
                    continue
                # 3. If one of them is 2, set the 3 to 8 and this neighbor to the background.
                if grid[nr][nc] == 2:
                    output[r][c] = 8
                    output[nr][nc] = background
    result = output
    return result
