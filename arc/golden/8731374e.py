def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output is smaller than the input.
    2. The input is full of cells of random colors, but for one large rectangle.
    3. The rectangle has one color, with a few single cells of a second color in it.
    4. No other rectangle in the input that has at most two colors has as many cells.
    5. The output is the rectangle, with a line of the second color from edge to edge, horizontal
       and vertical, through each of the single cells.
    Procedure:
    1. Find the rectangle with the most cells that has at most two colors: for each top left corner
       go down row by row, and in each row as far right as all rows so far together have at most
       two colors.
    2. Find the main color in it; the second color is the other one, if there is one.
    3. List the rows and the columns of the rectangle that have a cell of the second color.
    4. Fill these rows and columns with the second color.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the rectangle with the most cells that has at most two colors: for each top left
    #    corner go down row by row, and in each row as far right as all rows so far together have at
    #    most two colors.
    best = (0, 0, 0, 0, 0)
    for top in range(height):
        for left in range(width):
            column_colors = [set() for _ in range(width)]
            for bottom in range(top, height):
                colors = set()
                for right in range(left, width):
                    column_colors[right].add(grid[bottom][right])
                    colors |= column_colors[right]
                    if len(colors) > 2:
                        break
                    size = (bottom - top + 1) * (right - left + 1)
                    best = max(best, (size, top, left, bottom, right))
    size, top, left, bottom, right = best
    part = [row[left:right + 1] for row in grid[top:bottom + 1]]
    # 2. Find the main color in it; the second color is the other one, if there is one.
    flat = [cell for row in part for cell in row]
    main = max(set(flat), key=flat.count)
    # 3. List the rows and the columns of the rectangle that have a cell of the second color.
    cells = []
    for r in range(len(part)):
        for c in range(len(part[0])):
            if part[r][c] != main:
                cells.append((r, c))
    # 4. Fill these rows and columns with the second color.
    output = [row[:] for row in part]
    for row, column in cells:
        for r in range(len(part)):
            for c in range(len(part[0])):
                if r == row or c == column:
                    output[r][c] = part[row][column]
    result = output
    return result
