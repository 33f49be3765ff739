def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. Full rows and full columns of one color, one cell thick, cut the grid into rooms.
    3. Each room has one color; the most common room color is the background.
    4. The lines and the rooms of other colors stay as they are.
    5. Where two rooms of the same color stand in one row or one column of rooms, with nothing but
       background rooms between them, the rooms between them get this color. Stretches of
       different colors do not cross.
    Procedure:
    1. List the first row of each row of rooms: row 0 and each row below a full line.
    2. List the first column of each column of rooms in the same way.
    3. Read the color of each room, and take the most common one as the background.
    4. For each room of another color, look to the right, over background rooms, for the next room
       of another color. If it has the same color, mark the rooms between them.
    5. Do the same downwards.
    6. Give each cell of a marked room the marked color; all other cells stay.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. List the first row of each row of rooms: row 0 and each row below a full line.
    tops = [0]
    for r in range(height - 1):
        if len(set(grid[r])) == 1:
            tops.append(r + 1)
    # 2. List the first column of each column of rooms in the same way.
    lefts = [0]
    for c in range(width - 1):
        if len(set(grid[r][c] for r in range(height))) == 1:
            lefts.append(c + 1)
    # 3. Read the color of each room, and take the most common one as the background.
    rooms = {(top, left): grid[top][left] for top in tops for left in lefts}
    colors = list(rooms.values())
    background = max(set(colors), key=colors.count)
    marked = {}
    for i, top in enumerate(tops):
        for j, left in enumerate(lefts):
            color = rooms[(top, left)]
            if color == background:
                continue
            # 4. For each room of another color, look to the right, over background rooms, for the
            # next room of another color. If it has the same color, mark the rooms between them.
            path = []
            for other in lefts[j + 1:]:
                if rooms[(top, other)] == color:
                    marked.update({room: color for room in path})
                if rooms[(top, other)] != background:
                    break
                path.append((top, other))
            # 5. Do the same downwards.
            path = []
            for other in tops[i + 1:]:
                if rooms[(other, left)] == color:
                    marked.update({room: color for room in path})
                if rooms[(other, left)] != background:
                    break
                path.append((other, left))
    # 6. Give each cell of a marked room the marked color; all other cells stay.
    output = [list(row) for row in grid]
    for (top, left), color in marked.items():
        bottom = min([t for t in tops if t > top] + [height + 1]) - 1
        right = min([n for n in lefts if n > left] + [width + 1]) - 1
        for r in range(top, bottom):
            for c in range(left, right):
                output[r][c] = color
    result = output
    return result
