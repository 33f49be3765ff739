def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color. The other cells are a figure of one color.
    3. The figure is made of pieces that do not overlap: squares of 2x2 cells, and bars of three
       cells side by side or one above the other.
    4. In the output the cells of the squares are 8 and the cells of the bars are 2.
    Procedure:
    1. Find the background and the cells of the figure.
    2. Take the first cell of the figure, from top to bottom and from left to right, that belongs to
       no piece yet.
    3. Try to put a square there, with this cell as its top left cell, then a lying bar, then a
       standing bar. All cells of the piece must be free cells of the figure.
    4. Go on with the next free cell. If no piece fits there, take back the last piece and try the
       next kind for it.
    5. When no free cell is left, color the squares with 8 and the bars with 2.
    """
    # 1. Find the background and the cells of the figure.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    figure = set()
    for r, row in enumerate(grid):
        for c, cell in enumerate(row):
            if cell != background:
                figure.add((r, c))
    square = [(0, 0), (0, 1), (1, 0), (1, 1)]
    lying = [(0, 0), (0, 1), (0, 2)]
    standing = [(0, 0), (1, 0), (2, 0)]

    def fill(free: set[tuple[int, int]]) -> list[tuple[int, set[tuple[int, int]]]] | None:
        if not free:
            return []
        # 2. Take the first cell of the figure, from top to bottom and from left to right, that
        #    belongs to no piece yet.
        r, c = min(free)
        # 3. Try to put a square there, with this cell as its top left cell, then a lying bar, then
        #    a standing bar. All cells of the piece must be free cells of the figure.
        for color, shape in ((8, square), (2, lying), (2, standing)):
            piece = {(r + dr, c + dc) for dr, dc in shape}
            if piece <= free:
                # 4. Go on with the next free cell. If no piece fits there, take back the last
                #    piece and try the next kind for it.
                others = fill(free - piece)
                if others is not None:
                    return [(color, piece), *others]
        return None

    # 5. When no free cell is left, color the squares with 8 and the bars with 2.
    output = [list(row) for row in grid]
    for color, piece in fill(figure) or []:
        for r, c in piece:
            output[r][c] = color
    result = output
    return result
