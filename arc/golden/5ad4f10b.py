def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The background is the most common color, and the output is small.
    2. The input has two more colors.
    3. One color has many single cells, scattered over the grid.
    4. The other color makes a big shape of square blocks of one size, as large as they can be.
    5. The blocks lie in rows and columns, as the cells of a small picture do; its blocks without
       the color show background or scattered cells.
    6. The output is this picture with one cell for a block, in the color of the scattered cells.
    Procedure:
    1. Find the background, and the color of the big shape: the one with the most 2x2 squares.
    2. The color of the scattered cells is the third one.
    3. Find the smallest rectangle around the big shape.
    4. In it, note the distance from the top to each row where the shape differs from the row above,
       and the same for columns from the left. Note the height and the width, too.
    5. The side of a block is the largest number that divides all these.
    6. For each block look at its top left cell: if it has the color of the shape, the output has
       the scattered color there, else background.
    """
    from math import gcd
    # 1. Find the background, and the color of the big shape: the one with the most 2x2 squares.
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)
    squares = {color: 0 for color in cells if color != background}
    for r in range(len(grid) - 1):
        for c in range(len(grid[0]) - 1):
            square = {grid[r][c], grid[r][c + 1], grid[r + 1][c], grid[r + 1][c + 1]}
            if len(square) == 1 and grid[r][c] != background:
                squares[grid[r][c]] += 1
    shape = max(squares, key=squares.get)
    # 2. The color of the scattered cells is the third one.
    scattered = [color for color in squares if color != shape][0]
    # 3. Find the smallest rectangle around the big shape.
    rows = [r for r in range(len(grid)) if shape in grid[r]]
    columns = [c for c in range(len(grid[0])) if shape in [row[c] for row in grid]]
    part = [row[columns[0]:columns[-1] + 1] for row in grid[rows[0]:rows[-1] + 1]]
    picture = [[cell == shape for cell in row] for row in part]
    # 4. In it, note the distance from the top to each row where the shape differs from the row
    #    above, and the same for columns from the left. Note the height and the width, too.
    height = len(picture)
    width = len(picture[0])
    turned = list(zip(*picture))
    distances = [height, width]
    distances += [r for r in range(1, height) if picture[r] != picture[r - 1]]
    distances += [c for c in range(1, width) if turned[c] != turned[c - 1]]
    # 5. The side of a block is the largest number that divides all these.
    side = gcd(*distances)
    # 6. For each block look at its top left cell: if it has the color of the shape, the output has
    #    the scattered color there, else background.
    output = []
    for row in picture[::side]:
        output.append([scattered if cell else background for cell in row[::side]])
    result = output
    return result
