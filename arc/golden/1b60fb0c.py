def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color.
    3. The other cells are a figure that is almost symmetric: turned by 90 degrees around its
       center, it should look the same.
    4. A part on one side of the figure is missing. The whole figure lies in a square whose side is
       the longer side of the figure.
    5. The missing cells become 2.
    Procedure:
    1. Find the background.
    2. Find the first and the last row and column of the figure, and its longer side.
    3. The square begins with the first row or ends with the last row of the figure, and it is the
       same with the columns. Try all these squares.
    4. A cell of the square is missing if it is background, but colored in one of the cells in which
       it comes when the square is turned by 90, 180 and 270 degrees.
    5. Take the square with the fewest missing cells, and set them to 2.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    # 2. Find the first and the last row and column of the figure, and its longer side.
    rows = [r for r in range(height) if set(grid[r]) != {background}]
    columns = [c for c in range(width) if any(row[c] != background for row in grid)]
    size = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    # 3. The square begins with the first row or ends with the last row of the figure, and it is
    #    the same with the columns. Try all these squares.
    results = []
    for top in (rows[0], rows[-1] - size + 1):
        for left in (columns[0], columns[-1] - size + 1):
            # 4. A cell of the square is missing if it is background, but colored in one of the
            #    cells in which it comes when the square is turned by 90, 180 and 270 degrees.
            missing = set()
            for y in rows:
                for x in columns:
                    if grid[y][x] == background:
                        continue
                    r, c = y - top, x - left
                    for _ in range(3):
                        r, c = c, size - 1 - r
                        inside = 0 <= top + r < height and 0 <= left + c < width
                        if inside and grid[top + r][left + c] == background:
                            missing.add((top + r, left + c))
            results.append(sorted(missing))
    # 5. Take the square with the fewest missing cells, and set them to 2.
    output = [list(row) for row in grid]
    for r, c in min(results, key=len):
        output[r][c] = 2
    result = output
    return result
