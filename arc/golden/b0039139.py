def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. Full lines of color 1 cut the input into four panels, which stand either side by side or one
       below the other.
    2. The first panel shows one figure of color 4 on 0.
    3. The second panel shows some bars of color 3 on 0, which do not touch by sides.
    4. The third and the fourth panel are each filled with one color.
    5. The output consists of copies of the smallest rectangle around the figure, as many as there
       are bars. The copies stand side by side if the panels do, else one below the other.
    6. The figure has the color of the third panel. The other cells of the copies, and a line of one
       cell between neighboring copies, have the color of the fourth panel.
    Procedure:
    1. If no row is full of 1, the panels stand side by side: swap rows and columns. Now they stand
       one below the other.
    2. Cut the grid at the rows full of 1 into the four panels.
    3. Cut the smallest rectangle around the figure out of the first panel.
    4. Count the bars of the second panel: groups of cells of 3 that are connected by their sides.
    5. Read the colors of the third and the fourth panel.
    6. Write the copies one below the other, in these colors, with a row of the fourth panel's color
       between them.
    7. If rows and columns were swapped, swap them back.
    """
    # 1. If no row is full of 1, the panels stand side by side: swap rows and columns. Now they
    # stand one below the other.
    swapped = not any(set(row) == {1} for row in grid)
    if swapped:
        grid = [list(column) for column in zip(*grid)]
    # 2. Cut the grid at the rows full of 1 into the four panels.
    panels = [[]]
    for row in grid:
        if set(row) == {1}:
            panels.append([])
        else:
            panels[-1].append(row)
    # 3. Cut the smallest rectangle around the figure out of the first panel.
    rows = []
    columns = []
    for r, row in enumerate(panels[0]):
        for c, value in enumerate(row):
            if value == 4:
                rows.append(r)
                columns.append(c)
    figure = []
    for row in panels[0][min(rows):max(rows) + 1]:
        figure.append(row[min(columns):max(columns) + 1])
    # 4. Count the bars of the second panel: groups of cells of 3 that are connected by their
    # sides.
    unseen = []
    for r, row in enumerate(panels[1]):
        for c, value in enumerate(row):
            if value == 3:
                unseen.append((r, c))
    count = 0
    while unseen:
        count += 1
        group = [unseen.pop()]
        for r, c in group:
            for cell in [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]:
                if cell in unseen:
                    unseen.remove(cell)
                    group.append(cell)
    # 5. Read the colors of the third and the fourth panel.
    color = panels[2][0][0]
    other = panels[3][0][0]
    # 6. Write the copies one below the other, in these colors, with a row of the fourth panel's
    # color between them.
    output = []
    for number in range(count):
        if number > 0:
            output.append([other] * len(figure[0]))
        for row in figure:
            output.append([color if value == 4 else other for value in row])
    # 7. If rows and columns were swapped, swap them back.
    if swapped:
        output = [list(column) for column in zip(*output)]
    result = output
    return result
