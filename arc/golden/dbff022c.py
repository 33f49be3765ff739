def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size; the background is 0.
    2. The input has objects of one color each, mostly lines one cell thick, and a table.
    3. The table is a solid rectangle of several colors that touches no object. It has two rows and
       lies at the top or the bottom of the grid, or it has two columns and lies at the left or
       right.
    4. Its cells at this edge of the grid are keys; beside each key is its value, one cell further
       away from the edge.
    5. Some objects enclose background, which is then a hole.
    6. In the output a hole has the value of the key that is the color of the object around it. If
       that color is no key, the hole stays background. Everything else stays.
    Procedure:
    1. Find the table: start at a cell that is not 0 and add all cells that are not 0 and touch it,
       by side or corner, then those that touch these. The table is the group with the most colors.
    2. The keys are the table's cells in the top or the bottom row of the grid, if the table is two
       rows high and touches one of these, else its cells in the first or the last column of the
       grid. Pair each key with its value.
    3. Group the cells of color 0 in the same way, but only by sides.
    4. Such a group is a hole if none of its cells is at the edge of the grid and all cells beside
       it that are not 0 have the same color.
    5. If this color is a key, give all cells of the hole the key's value.
    """
    height = len(grid)
    width = len(grid[0])

    def find_groups(empty, steps):
        # Groups of cells that are 0 (empty is true) or not 0 (empty is false).
        groups = []
        seen = set()
        for r in range(height):
            for c in range(width):
                if (grid[r][c] == 0) != empty or (r, c) in seen:
                    continue
                seen.add((r, c))
                cells = [(r, c)]
                for y, x in cells:
                    for ny, nx in [(y + dy, x + dx) for dy, dx in steps]:
                        if not (0 <= ny < height and 0 <= nx < width) or (ny, nx) in seen:
                            continue
                        if (grid[ny][nx] == 0) == empty:
                            seen.add((ny, nx))
                            cells.append((ny, nx))
                groups.append(cells)
        return groups

    sides = [(-1, 0), (1, 0), (0, -1), (0, 1)]
    corners = [(-1, -1), (-1, 1), (1, -1), (1, 1)]
    # 1. Find the table: start at a cell that is not 0 and add all cells that are not 0 and touch
    #    it, by side or corner, then those that touch these. The table is the group with the most
    #    colors.
    groups = find_groups(False, sides + corners)
    table = max(groups, key=lambda cells: len({grid[y][x] for y, x in cells}))
    # 2. The keys are the table's cells in the top or the bottom row of the grid, if the table is
    #    two rows high and touches one of these, else its cells in the first or the last column of
    #    the grid. Pair each key with its value.
    rows, columns = sorted({y for y, x in table}), sorted({x for y, x in table})
    if len(rows) == 2 and (rows[0] == 0 or rows[1] == height - 1):
        first, second = rows if rows[0] == 0 else rows[::-1]
        values = {grid[first][x]: grid[second][x] for x in columns}
    else:
        first, second = columns if columns[0] == 0 else columns[::-1]
        values = {grid[y][first]: grid[y][second] for y in rows}
    # 3. Group the cells of color 0 in the same way, but only by sides.
    output = [row[:] for row in grid]
    for cells in find_groups(True, sides):
        # 4. Such a group is a hole if none of its cells is at the edge of the grid and all cells
        #    beside it that are not 0 have the same color.
        if any(y in (0, height - 1) or x in (0, width - 1) for y, x in cells):
            continue
        around = {grid[y + dy][x + dx] for y, x in cells for dy, dx in sides} - {0}
        # 5. If this color is a key, give all cells of the hole the key's value.
        if len(around) == 1:
            color = min(around)
            for y, x in cells:
                output[y][x] = values.get(color, 0)
    result = output
    return result
