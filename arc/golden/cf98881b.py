def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input consists of three panels of equal size, side by side, with two upright lines,
       one cell wide, between them. The lines have the same color.
    2. The background color occurs in all panels, and each panel has one other color of its own.
    3. The output has the size of a panel.
    4. It shows the three panels laid on top of each other: the left one is on top, the middle one
       below it, the right one at the bottom. Background cells are transparent.
    Procedure:
    1. Cut the grid into the three panels, each as wide as a third of the grid without the lines.
    2. Find the background: the most common of the colors that occur in all panels.
    3. For each place, look at the cells of the left, the middle and the right panel in this order,
       and take the first one that is not background.
    4. If all are background, the output cell is background.
    """
    height = len(grid)
    width = (len(grid[0]) - 2) // 3
    # 1. Cut the grid into the three panels, each as wide as a third of the grid without the lines.
    panels = []
    for number in range(3):
        left = number * (width + 1)
        panels.append([row[left:left + width] for row in grid])
    # 2. Find the background: the most common of the colors that occur in all panels.
    cells = []
    shared = set(range(10))
    for panel in panels:
        panel_cells = [value for row in panel for value in row]
        cells += panel_cells
        shared = shared & set(panel_cells)
    background = max(shared, key=cells.count)
    output = []
    for r in range(height):
        line = []
        for c in range(width):
            # 3. For each place, look at the cells of the left, the middle and the right panel in
            # this order, and take the first one that is not background.
            color = background
            for panel in panels:
                if color == background:
                    color = panel[r][c]
            # 4. If all are background, the output cell is background.
            line.append(color)
        output.append(line)
    result = output
    return result
