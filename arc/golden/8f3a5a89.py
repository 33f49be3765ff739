def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is 8. There are obstacles of color 1, and one cell of color 6.
    3. The obstacles may cut the background into parts. The home is the part that holds the 6, all
       cells of 8 that can be reached from it by steps to the side, and the 6 itself.
    4. In the output the outer edge of the home is drawn in 7 on its own cells: those at the border
       of the grid, and those that touch, by a side or a corner, something outside of the home
       that is connected to the border of the grid.
    5. Obstacles that lie as islands inside the home, without a connection to the border, get no
       edge and are kept.
    6. Obstacles that do not touch the home are gone: they have become 8.
    7. The 6 is kept.
    Procedure:
    1. Find the 6 and collect the home.
    2. Collect the groups of cells that are not home and touch by sides or corners. A group that has
       a cell at the border of the grid is outside.
    3. Color each home cell that is at the border of the grid, or touches an outside cell by a side
       or a corner, with 7; but keep the 6.
    4. Collect the obstacles: groups of cells of 1 that touch by sides or corners.
    5. Color each obstacle that has no home cell next to it, by a side or a corner, with 8.
    """
    height = len(grid)
    width = len(grid[0])
    cells = [(r, c) for r in range(height) for c in range(width)]
    def around(r, c):
        near = [(r + dr, c + dc) for dr in (-1, 0, 1) for dc in (-1, 0, 1)]
        return [(nr, nc) for nr, nc in near if 0 <= nr < height and 0 <= nc < width]
    def groups_of(members):
        unseen = set(members)
        groups = []
        for cell in members:
            if cell not in unseen:
                continue
            unseen.remove(cell)
            group = [cell]
            for r, c in group:
                for other in around(r, c):
                    if other in unseen:
                        unseen.remove(other)
                        group.append(other)
            groups.append(group)
        return groups
    # 1. Find the 6 and collect the home.
    start = [(r, c) for r, c in cells if grid[r][c] == 6][0]
    home = [start]
    in_home = {start}
    for r, c in home:
        for nr, nc in [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]:
            inside = 0 <= nr < height and 0 <= nc < width
            if inside and grid[nr][nc] == 8 and (nr, nc) not in in_home:
                in_home.add((nr, nc))
                home.append((nr, nc))
    # 2. Collect the groups of cells that are not home and touch by sides or corners. A group that
    # has a cell at the border of the grid is outside.
    outside = set()
    for group in groups_of([cell for cell in cells if cell not in in_home]):
        if any(r in (0, height - 1) or c in (0, width - 1) for r, c in group):
            outside.update(group)
    # 3. Color each home cell that is at the border of the grid, or touches an outside cell by a
    # side or a corner, with 7; but keep the 6.
    output = [list(row) for row in grid]
    for r, c in home:
        at_border = r in (0, height - 1) or c in (0, width - 1)
        if at_border or any(cell in outside for cell in around(r, c)):
            output[r][c] = 7
    output[start[0]][start[1]] = 6
    # 4. Collect the obstacles: groups of cells of 1 that touch by sides or corners.
    for group in groups_of([(r, c) for r, c in cells if grid[r][c] == 1]):
        # 5. Color each obstacle that has no home cell next to it, by a side or a corner, with 8.
        if not any(cell in in_home for r, c in group for cell in around(r, c)):
            for r, c in group:
                output[r][c] = 8
    result = output
    return result
