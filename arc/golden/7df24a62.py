def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The input has three colors: the background, which is the most common one, many dots of a
       second color, and one filled box of a third color.
    3. The box has some dots inside, and no background. Its border, one cell thick, has the third
       color. In the box without its border, each outer row and column has a dot.
    4. The dots of the box are a pattern, and the pattern comes again elsewhere on the grid.
    5. It may be rotated or mirrored there.
    6. At such a place the dots are just those of the pattern: all other cells of the box would lie
       on background or outside the grid.
    7. The output shows the box at each of these places.
    Procedure:
    1. Find the background, and the color whose bounding box has no background.
    2. Cut out the box, and make its four rotations, each also mirrored.
    3. Try each of them at each place, also where its border lies outside the grid.
    4. It fits if each dot lies on a dot, and each other cell on background or outside the grid.
    5. Where it fits, draw the cells of the box.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background, and the color whose bounding box has no background.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    box = []
    fill = background
    for color in set(cells) - {background}:
        rows = [r for r in range(height) if color in grid[r]]
        columns = [c for c in range(width) if any(row[c] == color for row in grid)]
        cut = [row[columns[0] : columns[-1] + 1] for row in grid[rows[0] : rows[-1] + 1]]
        if all(background not in row for row in cut):
            box = cut
            fill = color
    # 2. Cut out the box, and make its four rotations, each also mirrored.
    variants = []
    for _ in range(4):
        box = [list(row) for row in zip(*box[::-1])]
        variants += [box, [row[::-1] for row in box]]
    output = [list(row) for row in grid]
    # 3. Try each of them at each place, also where its border lies outside the grid.
    for variant in variants:
        for top in range(-1, height):
            for left in range(-1, width):
                # 4. It fits if each dot lies on a dot, and each other cell on background or
                #    outside the grid.
                fits = True
                inside = []
                for r, row in enumerate(variant):
                    for c, color in enumerate(row):
                        y, x = top + r, left + c
                        if 0 <= y < height and 0 <= x < width:
                            inside.append((y, x, color))
                            wanted = background if color == fill else color
                            fits = fits and grid[y][x] == wanted
                        elif color != fill:
                            fits = False
                # 5. Where it fits, draw the cells of the box.
                if fits:
                    for y, x, color in inside:
                        output[y][x] = color
    result = output
    return result
