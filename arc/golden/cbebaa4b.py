def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is 0.
    2. There are some pieces. The cells of a piece touch by sides or corners. Each piece has a body
       of one color and two or more cells of 2 at its ends, the connectors.
    3. One body has a filled 2x2 square: this piece is the base. The others are thin lines.
    4. In the output all pieces are joined, without turning. The base has not moved.
    5. Where two pieces are joined they share a connector: both have a connector in the same cell.
    6. Each connector is shared by two pieces, and bodies do not overlap.
    Procedure:
    1. Find the pieces: cells that are not 0 and touch by sides or corners.
    2. Find the base: the piece with a 2x2 square of one color. Place it where it is.
    3. Take the first connector of the placed pieces that is not shared yet, row by row.
    4. Try each piece that is left, with each of its connectors on this one. Its body may only cover
       empty cells, and its other connectors may lie on empty cells or on unshared connectors.
    5. Repeat this until all pieces are placed and all connectors are shared. When no piece fits,
       take the last one back and try the next way.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the pieces: cells that are not 0 and touch by sides or corners.
    seen = set()
    pieces = []
    for start_r in range(height):
        for start_c in range(width):
            cells = {}
            stack = [(start_r, start_c)]
            while stack:
                r, c = stack.pop()
                if not (0 <= r < height and 0 <= c < width):
                    continue
                if (r, c) in seen or grid[r][c] == 0:
                    continue
                seen.add((r, c))
                cells[(r, c)] = grid[r][c]
                stack += [(y, x) for y in (r - 1, r, r + 1) for x in (c - 1, c, c + 1)]
            if cells:
                pieces.append(cells)

    # 2. Find the base: the piece with a 2x2 square of one color. Place it where it is.
    def is_base(cells):
        for r, c in cells:
            square = [(r, c), (r, c + 1), (r + 1, c), (r + 1, c + 1)]
            if len({cells.get(place, 0) for place in square}) == 1:
                return True
        return False

    base = next(cells for cells in pieces if is_base(cells))
    others = [cells for cells in pieces if cells is not base]

    # 3. Take the first connector of the placed pieces that is not shared yet, row by row.
    # 4. Try each piece that is left, with each of its connectors on this one. Its body may only
    #    cover empty cells, and its other connectors may lie on empty cells or on unshared
    #    connectors.
    # 5. Repeat this until all pieces are placed and all connectors are shared. When no piece fits,
    #    take the last one back and try the next way.
    def join(placed, unshared, left):
        if not left and not unshared:
            return placed
        if not left or not unshared:
            return {}
        goal_r, goal_c = min(unshared)
        for number in left:
            cells = others[number]
            for key_r, key_c in [place for place in cells if cells[place] == 2]:
                moved = {}
                for r, c in cells:
                    moved[(r + goal_r - key_r, c + goal_c - key_c)] = cells[(r, c)]
                links = {place for place in moved if moved[place] == 2}
                inside = all(0 <= r < height and 0 <= c < width for r, c in moved)
                overlap = set(moved) & set(placed)
                if inside and overlap <= links & unshared:
                    rest = [n for n in left if n != number]
                    full = join({**placed, **moved}, unshared ^ links, rest)
                    if full:
                        return full
        return {}

    unshared = {place for place in base if base[place] == 2}
    placed = join(base, unshared, list(range(len(others)))) or base
    output = [[placed.get((r, c), 0) for c in range(width)] for r in range(height)]
    result = output
    return result
