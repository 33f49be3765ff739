def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color.
    3. The input has a figure of one color and four single dots of another color, which is the
       rarest color.
    4. One dot is above the figure, one below it, one on its left and one on its right.
    5. The output has a new rectangular frame, one cell thick, in the color of the figure.
    6. Each side of the frame lies next to one dot, on the side of the figure.
    Procedure:
    1. Find the color of the dots and the color of the figure.
    2. The frame reaches from the row below the top dot to the row above the bottom dot.
    3. It reaches from the column after the left dot to the column before the right dot.
    4. Draw the frame in the color of the figure.
    """
    # 1. Find the color of the dots and the color of the figure.
    cells = [cell for row in grid for cell in row]
    colors = sorted(set(cells), key=cells.count)
    dot = colors[0]
    figure = colors[1]
    dots = [(r, c) for r, row in enumerate(grid) for c, cell in enumerate(row) if cell == dot]
    # 2. The frame reaches from the row below the top dot to the row above the bottom dot.
    top = min(r for r, _ in dots) + 1
    bottom = max(r for r, _ in dots) - 1
    # 3. It reaches from the column after the left dot to the column before the right dot.
    left = min(c for _, c in dots) + 1
    right = max(c for _, c in dots) - 1
    # 4. Draw the frame in the color of the figure.
    output = [list(row) for row in grid]
    for r in range(top, bottom + 1):
        for c in range(left, right + 1):
            if r in (top, bottom) or c in (left, right):
                output[r][c] = figure
    result = output
    return result
