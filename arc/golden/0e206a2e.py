def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The most common color is the background.
    3. There are figures of touching cells (by sides or corners). A figure has a body of one color
       and one cell of each of three other colors, the markers. All figures use the same colors.
    4. Elsewhere lie groups of three loose cells with the three marker colors, without a body.
    5. The loose cells lie as the markers of a figure, which may be turned by quarter turns or
       mirrored.
    6. In the output the figures have moved there: the body is drawn around the loose cells, turned
       in the same way, and the original figures are gone.
    Procedure:
    1. Find the background, and collect the groups of touching cells.
    2. The body color is the most common color of the groups that have all four colors; these
       groups are the figures, and the cells of the other groups are loose.
    3. For each figure, make all its turned and mirrored versions.
    4. Move a version so that its first marker lies on a loose cell of the same color. If then all
       its markers lie on loose cells of their colors, the figure belongs here.
    5. Draw the loose cells and the figures in their new places on an empty grid.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background, and collect the groups of touching cells.
    cells = [value for row in grid for value in row]
    background = max(set(cells), key=cells.count)
    unseen = []
    for r in range(height):
        for c in range(width):
            if grid[r][c] != background:
                unseen.append((r, c))
    groups = []
    while unseen:
        group = [unseen.pop()]
        for r, c in group:
            for cell in list(unseen):
                if abs(cell[0] - r) <= 1 and abs(cell[1] - c) <= 1:
                    unseen.remove(cell)
                    group.append(cell)
        groups.append(group)
    # 2. The body color is the most common color of the groups that have all four colors; these
    # groups are the figures, and the cells of the other groups are loose.
    colors = set(cells) - {background}
    figures = []
    loose = {}
    figure_colors = []
    for group in groups:
        if set(grid[r][c] for r, c in group) == colors:
            figures.append([(r, c, grid[r][c]) for r, c in group])
            figure_colors += [grid[r][c] for r, c in group]
        else:
            loose.update({(r, c): grid[r][c] for r, c in group})
    body = max(colors, key=figure_colors.count)
    # 3. For each figure, make all its turned and mirrored versions.
    drawn = dict(loose)
    for figure in figures:
        version = figure
        for number in range(8):
            version = [(c, -r, color) for r, c, color in version]
            if number == 4:
                version = [(r, -c, color) for r, c, color in version]
            markers = [cell for cell in version if cell[2] != body]
            first = markers[0]
            # 4. Move a version so that its first marker lies on a loose cell of the same color. If
            # then all its markers lie on loose cells of their colors, the figure belongs here.
            for r, c in loose:
                dr = r - first[0]
                dc = c - first[1]
                if all(loose.get((m[0] + dr, m[1] + dc)) == m[2] for m in markers):
                    for m in version:
                        drawn[(m[0] + dr, m[1] + dc)] = m[2]
    # 5. Draw the loose cells and the figures in their new places on an empty grid.
    output = [[background] * width for _ in range(height)]
    for (r, c), color in drawn.items():
        if 0 <= r < height and 0 <= c < width:
            output[r][c] = color
    result = output
    return result
