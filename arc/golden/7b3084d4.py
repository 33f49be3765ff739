def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The background is 0. The output is a square without 0.
    2. The input has a few pieces. The cells of a piece touch by sides or corners. Each piece has
       one color, but one piece also has one cell of 5.
    3. All pieces together have as many cells as the output.
    4. The output is a puzzle: it consists of all pieces, moved and turned by quarter turns, but not
       mirrored.
    5. The cell of 5 is in the top left corner of the output.
    Procedure:
    1. Find the pieces: cells that are not 0 and touch by sides or corners.
    2. The side of the output is the number that gives the count of all cells when multiplied by
       itself.
    3. Turn each piece in the four ways. List its cells, counted from its first cell in reading
       order.
    4. Find the first empty cell of the output in reading order. Try each unused piece in each way
       with its first cell there. It must not leave the square or overlap another piece. The very
       first cell must be 5.
    5. Repeat this until the square is full. When no piece fits, take the last piece back and try
       the next way.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the pieces: cells that are not 0 and touch by sides or corners.
    seen = set()
    pieces = []
    for start_r in range(height):
        for start_c in range(width):
            cells = []
            stack = [(start_r, start_c)]
            while stack:
                r, c = stack.pop()
                if not (0 <= r < height and 0 <= c < width):
                    continue
                if (r, c) in seen or grid[r][c] == 0:
                    continue
                seen.add((r, c))
                cells.append((r, c, grid[r][c]))
                stack += [(y, x) for y in (r - 1, r, r + 1) for x in (c - 1, c, c + 1)]
            if cells:
                pieces.append(cells)
    # 2. The side of the output is the number that gives the count of all cells when multiplied by
    #    itself.
    count = sum(len(cells) for cells in pieces)
    side = 1
    while side * side < count:
        side += 1
    # 3. Turn each piece in the four ways. List its cells, counted from its first cell in reading
    #    order.
    turned = []
    for cells in pieces:
        ways = []
        for _ in range(4):
            cells = [(c, -r, color) for r, c, color in cells]
            first_r, first_c, _ = min(cells)
            ways.append([(r - first_r, c - first_c, color) for r, c, color in sorted(cells)])
        turned.append(ways)

    # 4. Find the first empty cell of the output in reading order. Try each unused piece in each way
    #    with its first cell there. It must not leave the square or overlap another piece. The very
    #    first cell must be 5.
    # 5. Repeat this until the square is full. When no piece fits, take the last piece back and try
    #    the next way.
    def fill(board, unused):
        empty = [(r, c) for r in range(side) for c in range(side) if (r, c) not in board]
        if not empty:
            return board
        top, left = empty[0]
        for number in unused:
            for way in turned[number]:
                placed = {(top + r, left + c): color for r, c, color in way}
                inside = all(0 <= r < side and 0 <= c < side for r, c in placed)
                free = not any(place in board for place in placed)
                starts_right = board or way[0][2] == 5
                if inside and free and starts_right:
                    full = fill({**board, **placed}, [n for n in unused if n != number])
                    if full:
                        return full
        return {}

    board = fill({}, list(range(len(pieces))))
    output = [[board.get((r, c), 0) for c in range(side)] for r in range(side)]
    result = output
    return result
