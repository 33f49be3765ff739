def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The background is the most common color on the border of the grid.
    2. The other cells form groups of cells that touch, side by side or corner to corner.
    3. The largest group is a rectangle of one main color with holes: cells of the background.
    4. The groups outside of it are small filled pieces. Some cells of a piece have the main color.
    5. Each piece belongs on one place of the rectangle. It may have to be rotated for it, or else
       mirrored and rotated.
    6. There its cells of the main color fill the holes, and its other cells lie on the main color.
    7. The output is the rectangle with all pieces on their places.
    Procedure:
    1. Find the background and the groups.
    2. Cut out the largest group as the rectangle, and find its main color.
    3. Cut out each group outside of it as a piece, and start with the piece that fills the most
       holes.
    4. Try its four rotations at each place of the rectangle, then the four rotations of the
       mirrored piece: a hole must lie under each cell of the main color, and the main color under
       each other cell.
    5. Draw the piece on the first place where it fits, and go on with the next piece. If a later
       piece fits nowhere, take the next place instead.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background and the groups.
    border = grid[0] + grid[-1] + [row[0] for row in grid] + [row[-1] for row in grid]
    background = max(border, key=border.count)
    groups = []
    seen = set()
    for r in range(height):
        for c in range(width):
            if grid[r][c] == background or (r, c) in seen:
                continue
            group = [(r, c)]
            seen.add((r, c))
            for y, x in group:
                for ny in range(max(y - 1, 0), min(y + 2, height)):
                    for nx in range(max(x - 1, 0), min(x + 2, width)):
                        if grid[ny][nx] != background and (ny, nx) not in seen:
                            seen.add((ny, nx))
                            group.append((ny, nx))
            groups.append(group)

    def box(group: list[tuple[int, int]]) -> tuple[int, int, int, int]:
        rows = [r for r, _ in group]
        columns = [c for _, c in group]
        return min(rows), max(rows), min(columns), max(columns)

    def cut(group: list[tuple[int, int]]) -> list[list[int]]:
        top, bottom, left, right = box(group)
        return [row[left : right + 1] for row in grid[top : bottom + 1]]

    # 2. Cut out the largest group as the rectangle, and find its main color.
    groups.sort(key=len)
    largest = groups.pop()
    rectangle = cut(largest)
    cells = [cell for row in rectangle for cell in row if cell != background]
    main = max(cells, key=cells.count)
    # 3. Cut out each group outside of it as a piece, and start with the piece that fills the most
    #    holes.
    pieces = []
    top, bottom, left, right = box(largest)
    for group in groups:
        r, c = group[0]
        if not (top <= r <= bottom and left <= c <= right):
            pieces.append(cut(group))
    pieces.sort(key=lambda piece: sum(row.count(main) for row in piece), reverse=True)

    def draw(picture: list[list[int]], number: int) -> list[list[int]]:
        if number == len(pieces):
            return picture
        # 4. Try its four rotations at each place of the rectangle, then the four rotations of the
        #    mirrored piece: a hole must lie under each cell of the main color, and the main color
        #    under each other cell.
        piece = pieces[number]
        for turn in range(8):
            if turn == 4:
                piece = [row[::-1] for row in piece]
            piece = [list(row) for row in zip(*piece[::-1])]
            for top in range(len(picture) - len(piece) + 1):
                for left in range(len(picture[0]) - len(piece[0]) + 1):
                    fits = True
                    for r, row in enumerate(piece):
                        for c, color in enumerate(row):
                            wanted = background if color == main else main
                            fits = fits and picture[top + r][left + c] == wanted
                    if not fits:
                        continue
                    # 5. Draw the piece on the first place where it fits, and go on with the next
                    #    piece. If a later piece fits nowhere, take the next place instead.
                    drawn = [list(row) for row in picture]
                    for r, row in enumerate(piece):
                        drawn[top + r][left : left + len(row)] = row
                    finished = draw(drawn, number + 1)
                    if finished:
                        return finished
        return []

    output = draw(rectangle, 0) or rectangle
    result = output
    return result
