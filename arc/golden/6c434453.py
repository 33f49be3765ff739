def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color.
    3. The input has figures of one color each. Cells that touch side by side are one figure.
    4. Some figures are rings: the border of a rectangle with background inside. The rectangle has
       an odd number of rows and of columns.
    5. Each ring becomes a plus of color 2: the middle row and the middle column of the rectangle.
       Its other cells become background.
    6. All other figures stay the same.
    Procedure:
    1. Find the background and the figures.
    2. Find the first and the last row and column of each figure.
    3. It is a ring if it has all cells on the border of this box, no others, and if there are
       other cells inside.
    4. Erase the ring, and draw the middle row and the middle column of the box in color 2.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background and the figures.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    output = [list(row) for row in grid]
    seen = set()
    for r in range(height):
        for c in range(width):
            if grid[r][c] == background or (r, c) in seen:
                continue
            figure = [(r, c)]
            seen.add((r, c))
            for y, x in figure:
                for ny, nx in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                    inside = 0 <= ny < height and 0 <= nx < width
                    if inside and (ny, nx) not in seen and grid[ny][nx] == grid[r][c]:
                        seen.add((ny, nx))
                        figure.append((ny, nx))
            # 2. Find the first and the last row and column of each figure.
            top, bottom = min(y for y, _ in figure), max(y for y, _ in figure)
            left, right = min(x for _, x in figure), max(x for _, x in figure)
            # 3. It is a ring if it has all cells on the border of this box, no others, and if
            #    there are other cells inside.
            box = [(y, x) for y in range(top, bottom + 1) for x in range(left, right + 1)]
            border = [(y, x) for y, x in box if y in (top, bottom) or x in (left, right)]
            if set(figure) != set(border) or len(border) == len(box):
                continue
            # 4. Erase the ring, and draw the middle row and the middle column of the box in color
            #    2.
            for y, x in box:
                in_plus = y == (top + bottom) // 2 or x == (left + right) // 2
                output[y][x] = 2 if in_plus else background
    result = output
    return result
