def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The background is the most common color. The output is smaller than the input.
    2. The input has an open frame: four straight lines of four colors, one for each side, without
       corners.
    3. It also has a figure of one more color. It is exactly as large as the inside of the frame.
    4. The output is the frame with the figure inside.
    5. Each cell of the figure gets the color of the nearest side of the frame. Where two or more
       sides are equally near, it keeps the color of the figure.
    Procedure:
    1. Find the background: the most common color.
    2. The figure is the color whose cells are in more than one row and more than one column. Cut
       it out.
    3. The other colors are the frame. Cut it out.
    4. For each cell of the figure measure its distance to the top, bottom, left and right side.
    5. If only one side is nearest, the cell gets the color of this side, else the color of the
       figure.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)

    def cut(colors):
        rows = [r for r in range(height) if set(grid[r]) & colors]
        columns = [c for c in range(width) if {row[c] for row in grid} & colors]
        return [row[columns[0] : columns[-1] + 1] for row in grid[rows[0] : rows[-1] + 1]]

    # 2. The figure is the color whose cells are in more than one row and more than one column. Cut
    #    it out.
    for color in sorted(set(cells) - {background}):
        part = cut({color})
        if len(part) > 1 and len(part[0]) > 1:
            figure_color = color
            figure = part
    # 3. The other colors are the frame. Cut it out.
    output = cut(set(cells) - {background, figure_color})
    bottom = len(output) - 1
    right = len(output[0]) - 1
    sides = [output[0][1], output[bottom][1], output[1][0], output[1][right]]
    for r in range(1, bottom):
        for c in range(1, right):
            if figure[r - 1][c - 1] == figure_color:
                # 4. For each cell of the figure measure its distance to the top, bottom, left and
                #    right side.
                distances = [r, bottom - r, c, right - c]
                # 5. If only one side is nearest, the cell gets the color of this side, else the
                #    color of the figure.
                nearest = min(distances)
                output[r][c] = figure_color
                if distances.count(nearest) == 1:
                    output[r][c] = sides[distances.index(nearest)]
    result = output
    return result
