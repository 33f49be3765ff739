def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color.
    3. All cells of another color form one figure.
    4. Each figure is symmetric left to right, but for a few cells too many.
    5. The axis of a figure is a column or lies between two columns. It is the axis for which the
       most cells of the figure have their mirror image in the figure. If this is true of two axes,
       it is the left one.
    6. The cells without a mirror image disappear.
    Procedure:
    1. Find the background, and list the cells of each other color.
    2. Try each axis: the columns of a cell and of its mirror image have the same sum for all cells.
    3. For each sum collect the cells whose mirror image is in the figure.
    4. Keep the largest of these collections (with the smallest sum, if there are several), and set
       the other cells of the figure to the background.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background, and list the cells of each other color.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    output = [list(row) for row in grid]
    for color in set(cells) - {background}:
        figure = {(r, c) for r in range(height) for c in range(width) if grid[r][c] == color}
        # 2. Try each axis: the columns of a cell and of its mirror image have the same sum for all
        #    cells.
        best = set()
        for total in range(2 * width - 1):
            # 3. For each sum collect the cells whose mirror image is in the figure.
            kept = {(r, c) for r, c in figure if (r, total - c) in figure}
            if len(kept) > len(best):
                best = kept
        # 4. Keep the largest of these collections (with the smallest sum, if there are several),
        #    and set the other cells of the figure to the background.
        for r, c in figure - best:
            output[r][c] = background
    result = output
    return result
