def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The most common color is the background.
    3. There is one figure of one color that is its own mirror image, from left to right or from
       top to bottom.
    4. A solid rectangle of another color, the block, hides a part of the figure.
    5. In the output the block is gone, and the figure is complete.
    Procedure:
    1. Find the background and the two other colors.
    2. The block is the color whose cells just fill the rectangle around them; if both do, it is
       the rarer color. The other color is the figure.
    3. Try each upright and each flat mirror line (in the middle of a column or row, or between two
       of them). It fits if the mirror cell of each figure cell belongs to the figure or to the
       block.
    4. Take the line that fits and needs the fewest new cells.
    5. Remove the block, and add the mirror cells of all figure cells to the figure.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background and the two other colors.
    cells = [value for row in grid for value in row]
    background = max(set(cells), key=cells.count)
    colors = sorted(set(cells) - {background}, key=cells.count)
    # 2. The block is the color whose cells just fill the rectangle around them; if both do, it is
    # the rarer color. The other color is the figure.
    block = []
    figure = []
    for color in colors:
        places = [(r, c) for r in range(height) for c in range(width) if grid[r][c] == color]
        rows = [r for r, c in places]
        columns = [c for r, c in places]
        area = (max(rows) - min(rows) + 1) * (max(columns) - min(columns) + 1)
        if len(places) == area and not block:
            block = places
        else:
            figure = places
            figure_color = color
    # 3. Try each upright and each flat mirror line (in the middle of a column or row, or between
    # two of them). It fits if the mirror cell of each figure cell belongs to the figure or to the
    # block.
    images = [[(r, total - c) for r, c in figure] for total in range(2 * width - 1)]
    images += [[(total - r, c) for r, c in figure] for total in range(2 * height - 1)]
    best = None
    for mirrored in images:
        if not all(cell in figure or cell in block for cell in mirrored):
            continue
        # 4. Take the line that fits and needs the fewest new cells.
        new_cells = [cell for cell in mirrored if cell not in figure]
        if best is None or len(new_cells) < len(best):
            best = new_cells
    # 5. Remove the block, and add the mirror cells of all figure cells to the figure.
    output = [list(row) for row in grid]
    for r, c in block:
        output[r][c] = background
    for r, c in best or []:
        output[r][c] = figure_color
    result = output
    return result
