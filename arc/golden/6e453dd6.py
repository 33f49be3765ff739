def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size, and the background is the most common color.
    2. One column has only the color 5: it is a wall. The wall stays the same.
    3. On the left of the wall there are figures of color 0. Cells that touch, side by side or
       corner to corner, are one figure. No two figures have a common row.
    4. Each figure moves to the right until it touches the wall.
    5. In some rows a cell of the moved figure touches the wall, the cell on its left is background,
       and the figure has another cell further to the left in this row.
    6. In these rows all cells on the right of the wall become 2.
    Procedure:
    1. Find the background and the column of the wall.
    2. Find the figures and erase them.
    3. Find the distance from the last column of each figure to the wall, and draw the figure moved
       to the right by so much.
    4. Go through the rows of each moved figure. If it has a cell beside the wall, none on the left
       of this cell, and some further to the left, set the cells right of the wall to 2.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background and the column of the wall.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    wall = next(c for c in range(width) if all(row[c] == 5 for row in grid))
    # 2. Find the figures and erase them.
    figures = []
    seen = set()
    for r in range(height):
        for c in range(width):
            if grid[r][c] != 0 or (r, c) in seen:
                continue
            figure = [(r, c)]
            seen.add((r, c))
            for y, x in figure:
                for ny in range(max(y - 1, 0), min(y + 2, height)):
                    for nx in range(max(x - 1, 0), min(x + 2, width)):
                        if grid[ny][nx] == 0 and (ny, nx) not in seen:
                            seen.add((ny, nx))
                            figure.append((ny, nx))
            figures.append(figure)
    output = [list(row) for row in grid]
    for r, c in seen:
        output[r][c] = background
    for figure in figures:
        # 3. Find the distance from the last column of each figure to the wall, and draw the figure
        #    moved to the right by so much.
        distance = wall - 1 - max(c for _, c in figure)
        moved = [(r, c + distance) for r, c in figure]
        for r, c in moved:
            output[r][c] = 0
        # 4. Go through the rows of each moved figure. If it has a cell beside the wall, none on
        #    the left of this cell, and some further to the left, set the cells right of the wall
        #    to 2.
        for r in {r for r, _ in moved}:
            columns = [c for y, c in moved if y == r]
            if wall - 1 in columns and wall - 2 not in columns and len(columns) > 1:
                for c in range(wall + 1, width):
                    output[r][c] = 2
    result = output
    return result
