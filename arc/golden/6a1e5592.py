def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is the most common
       color.
    2. At the top there is a wall of one color. Its first row is full. In its other rows there are
       holes of background that are open to below. (If the whole picture is turned, it can first be
       turned back.)
    3. At the bottom there are some pieces of a third color. The cells of a piece are joined by
       their sides.
    4. In the output the pieces are at the wall and have become 1.
    5. They have moved without turning. They fill all holes completely and do not overlap each other
       or the wall. Parts of them hang out of the holes.
    Procedure:
    1. Turn the grid by quarter turns to the right until the first row has one color, not
       background: the color of the wall. Count the turns.
    2. The holes are the cells of background in the rows that have this color.
    3. Find the pieces: cells of the third color that are joined by their sides.
    4. Remove the pieces from the grid.
    5. Take the first hole cell, row by row, that is not filled yet. Try each unused piece with each
       of its cells on it. All its cells must be in the grid, on background and not on another
       piece.
    6. Repeat this until all hole cells are filled and all pieces are used. When no piece fits, take
       the last one back and try the next way.
    7. Color the cells of the placed pieces with 1.
    8. Turn the output on to the right, until there are four turns in all.
    """

    def turn(rows):
        return [list(column) for column in zip(*rows[::-1], strict=True)]

    all_cells = [cell for row in grid for cell in row]
    background = max(set(all_cells), key=all_cells.count)
    # 1. Turn the grid by quarter turns to the right until the first row has one color, not
    #    background: the color of the wall. Count the turns.
    turns = 0
    while turns < 4 and (len(set(grid[0])) > 1 or grid[0][0] == background):
        grid = turn(grid)
        turns += 1
    wall = grid[0][0]
    height = len(grid)
    width = len(grid[0])
    # 2. The holes are the cells of background in the rows that have this color.
    holes = []
    for r in range(height):
        if wall in grid[r]:
            holes += [(r, c) for c in range(width) if grid[r][c] == background]
    # 3. Find the pieces: cells of the third color that are joined by their sides.
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
                if (r, c) in seen or grid[r][c] in (wall, background):
                    continue
                seen.add((r, c))
                cells.append((r, c))
                stack += [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]
            if cells:
                pieces.append(sorted(cells))
    # 4. Remove the pieces from the grid.
    output = [[cell if cell == wall else background for cell in row] for row in grid]

    # 5. Take the first hole cell, row by row, that is not filled yet. Try each unused piece with
    #    each of its cells on it. All its cells must be in the grid, on background and not on
    #    another piece.
    # 6. Repeat this until all hole cells are filled and all pieces are used. When no piece fits,
    #    take the last one back and try the next way.
    def fill(used_cells, unused):
        open_holes = [place for place in holes if place not in used_cells]
        if not open_holes:
            return None if unused else used_cells
        hole_r, hole_c = open_holes[0]
        for number in unused:
            for key_r, key_c in pieces[number]:
                moved = [(r + hole_r - key_r, c + hole_c - key_c) for r, c in pieces[number]]
                fits = all(0 <= r < height and 0 <= c < width for r, c in moved)
                free = fits and all(output[r][c] == background for r, c in moved)
                if free and not used_cells & set(moved):
                    rest = [n for n in unused if n != number]
                    solution = fill(used_cells | set(moved), rest)
                    if solution is not None:
                        return solution
        return None

    # 7. Color the cells of the placed pieces with 1.
    for r, c in fill(set(), list(range(len(pieces)))) or []:
        output[r][c] = 1
    # 8. Turn the output on to the right, until there are four turns in all.
    for _ in range(4 - turns):
        output = turn(output)
    result = output
    return result
