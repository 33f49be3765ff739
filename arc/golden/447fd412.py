def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The most common color is the background; two other colors are used, the body color and the
       marker color.
    3. One group of touching cells (by sides or corners) has both colors: the template. It is
       drawn with single cells: a body and some markers, which do not touch each other by sides.
    4. All other cells that are not background are markers too. They form solid squares, which
       show all the template's markers enlarged: a marker cell becomes a square of k x k cells,
       and the distances grow by the factor k too. The squares do not touch each other by sides.
    5. In the output the body of the template is drawn at these markers, enlarged by the same
       factor; what lies outside the grid is left out.
    Procedure:
    1. Find the background, and collect the groups of touching cells that are not background.
    2. The group with two colors is the template. Its markers have the color of the other groups.
    3. Go through all cells outside the template in reading order. An unused marker cell is the
       upper left corner of the enlarged first marker of the template (also in reading order); k is
       the number of marker cells in the row from there on to the right, up to the first other
       cell.
    4. Compute the squares of all template markers for this place and factor, and check that they
       are unused marker cells. If so, they are used now.
    5. Then draw each body cell of the template as a square of k x k cells in its place.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background, and collect the groups of touching cells that are not background.
    cells = [value for row in grid for value in row]
    background = max(set(cells), key=cells.count)
    unseen = []
    for r in range(height):
        for c in range(width):
            if grid[r][c] != background:
                unseen.append((r, c))
    groups = []
    while unseen:
        group = [unseen.pop(0)]
        for r, c in group:
            for cell in list(unseen):
                if abs(cell[0] - r) <= 1 and abs(cell[1] - c) <= 1:
                    unseen.remove(cell)
                    group.append(cell)
        groups.append(group)
    # 2. The group with two colors is the template. Its markers have the color of the other groups.
    template = []
    free = []
    for group in groups:
        if len(set(grid[r][c] for r, c in group)) > 1:
            template = sorted(group)
        else:
            free += group
    free.sort()
    marker_colors = [grid[r][c] for r, c in free]
    markers = [(r, c) for r, c in template if grid[r][c] in marker_colors]
    body = [(r, c) for r, c in template if grid[r][c] not in marker_colors]
    # 3. Go through all cells outside the template in reading order. An unused marker cell is the
    # upper left corner of the enlarged first marker of the template (also in reading order); k is
    # the number of marker cells in the row from there on to the right, up to the first other cell.
    output = [list(row) for row in grid]
    used = set()
    def square(cell, start, k):
        top = start[0] + (cell[0] - markers[0][0]) * k
        left = start[1] + (cell[1] - markers[0][1]) * k
        return [(r, c) for r in range(top, top + k) for c in range(left, left + k)]
    for start in free:
        if start in used:
            continue
        k = 1
        while (start[0], start[1] + k) in free:
            k += 1
        # 4. Compute the squares of all template markers for this place and factor, and check that
        # they are unused marker cells. If so, they are used now.
        needed = [cell for marker in markers for cell in square(marker, start, k)]
        if not all(cell in free and cell not in used for cell in needed):
            continue
        used.update(needed)
        # 5. Then draw each body cell of the template as a square of k x k cells in its place.
        for cell in body:
            for r, c in square(cell, start, k):
                if 0 <= r < height and 0 <= c < width:
                    output[r][c] = grid[cell[0]][cell[1]]
    result = output
    return result
