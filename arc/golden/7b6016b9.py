def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color.
    3. The input has straight lines of one color that cross each other. They stay the same.
    4. Background that the lines enclose becomes 2.
    5. Background from which one can walk to the border of the grid, step by step up, down, left
       and right and only over background, becomes 3.
    Procedure:
    1. Find the background.
    2. Start with all background cells on the border of the grid.
    3. Add each background cell next to a cell that was added, until there is none.
    4. Color the added cells with 3 and the other background cells with 2.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    # 2. Start with all background cells on the border of the grid.
    outside = []
    for r in range(height):
        for c in range(width):
            on_border = r in (0, height - 1) or c in (0, width - 1)
            if on_border and grid[r][c] == background:
                outside.append((r, c))
    # 3. Add each background cell next to a cell that was added, until there is none.
    added = set(outside)
    for r, c in outside:
        for y, x in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)):
            inside = 0 <= y < height and 0 <= x < width
            if inside and (y, x) not in added and grid[y][x] == background:
                added.add((y, x))
                outside.append((y, x))
    # 4. Color the added cells with 3 and the other background cells with 2.
    output = [list(row) for row in grid]
    for r in range(height):
        for c in range(width):
            if grid[r][c] == background:
                output[r][c] = 3 if (r, c) in added else 2
    result = output
    return result
