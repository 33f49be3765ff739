def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The most common color of the border of the grid is the background.
    2. There is one solid rectangle of two other colors on it.
    3. The output has the size of the rectangle.
    4. The output is the rectangle, mirrored from left to right.
    Procedure:
    1. Take the most common color of the border of the grid as the background.
    2. Find the first and last row and the first and last column with another color.
    3. Cut this rectangle out.
    4. Reverse each of its rows.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Take the most common color of the border of the grid as the background.
    border = grid[0] + grid[-1]
    for row in grid:
        border += [row[0], row[-1]]
    background = max(set(border), key=border.count)
    # 2. Find the first and last row and the first and last column with another color.
    rows = []
    columns = []
    for r in range(height):
        for c in range(width):
            if grid[r][c] != background:
                rows.append(r)
                columns.append(c)
    # 3. Cut this rectangle out.
    cut = [grid[r][min(columns):max(columns) + 1] for r in range(min(rows), max(rows) + 1)]
    # 4. Reverse each of its rows.
    output = [row[::-1] for row in cut]
    result = output
    return result
