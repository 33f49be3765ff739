def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size; the background is the most common color.
    2. The input has outlines of squares, one cell thick, which enclose background.
    3. What an outline encloses is a square of 1x1, 2x2 or 3x3 cells.
    4. In the output the enclosed cells are 6 in a square of 1x1, 7 in one of 2x2, 8 in one of 3x3.
    5. Everything else stays.
    Procedure:
    1. Find the background: the most common color.
    2. Group the background cells: those that touch by a side belong together.
    3. A group is enclosed if none of its cells is at the edge of the grid.
    4. Find the side of an enclosed square: the number of rows in which the group has cells.
    5. Give all cells of the group the color 5 plus the side.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    flat = [cell for row in grid for cell in row]
    background = max(set(flat), key=flat.count)
    output = [row[:] for row in grid]
    seen = set()
    for r in range(height):
        for c in range(width):
            if grid[r][c] != background or (r, c) in seen:
                continue
            # 2. Group the background cells: those that touch by a side belong together.
            seen.add((r, c))
            cells = [(r, c)]
            for y, x in cells:
                for ny, nx in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                    in_grid = 0 <= ny < height and 0 <= nx < width
                    if in_grid and grid[ny][nx] == background and (ny, nx) not in seen:
                        seen.add((ny, nx))
                        cells.append((ny, nx))
            # 3. A group is enclosed if none of its cells is at the edge of the grid.
            if any(y in (0, height - 1) or x in (0, width - 1) for y, x in cells):
                continue
            # 4. Find the side of an enclosed square: the number of rows in which the group has
            #    cells.
            side = len({y for y, x in cells})
            # 5. Give all cells of the group the color 5 plus the side.
            for y, x in cells:
                output[y][x] = 5 + side
    result = output
    return result
