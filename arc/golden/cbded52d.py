def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. Rows and columns of one color divide the grid into blocks of the same size.
    3. Most cells of the blocks have one main color. The others are dots.
    4. Two blocks side by side, or with more blocks between them, may have a dot of the same color
       on the same place. Then all blocks between them get this dot, too.
    5. It is the same for two blocks one above the other.
    Procedure:
    1. Find the first row and the first column that have only one color: the dividing lines. They
       give the distance from a block to the next one, down and to the right.
    2. Find the main color, which is the most common color besides that of the lines.
    3. Go through the dots, and look on from each of them to the right, block by block, on the same
       place.
    4. If one of these cells is a dot of the same color, set the cells before it to this color.
    5. Do the same downwards.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the first row and the first column that have only one color: the dividing lines.
    #    They give the distance from a block to the next one, down and to the right.
    down = next(r for r in range(height) if len(set(grid[r])) == 1) + 1
    right = next(c for c in range(width) if len({row[c] for row in grid}) == 1) + 1
    line = grid[down - 1][0]
    # 2. Find the main color, which is the most common color besides that of the lines.
    cells = [cell for row in grid for cell in row if cell != line]
    main = max(cells, key=cells.count)
    output = [list(row) for row in grid]
    # 3. Go through the dots, and look on from each of them to the right, block by block, on the
    #    same place.
    for r in range(height):
        for c in range(width):
            color = grid[r][c]
            if color in (main, line):
                continue
            for x in range(c + right, width, right):
                # 4. If one of these cells is a dot of the same color, set the cells before it to
                #    this color.
                if grid[r][x] == color:
                    for between in range(c, x, right):
                        output[r][between] = color
            # 5. Do the same downwards.
            for y in range(r + down, height, down):
                if grid[y][c] == color:
                    for between in range(r, y, down):
                        output[between][c] = color
    result = output
    return result
