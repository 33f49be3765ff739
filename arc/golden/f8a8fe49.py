def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. On the background, the most common color, there are two brackets of one color, facing
       each other: two parallel straight lines of the same length, with short hooks at the ends,
       which point inward.
    3. Between the brackets there are some cells of another color. They are near to one of the two
       lines.
    4. The brackets stay. Each cell between them moves out: it is mirrored at the line that is
       nearer to it.
    5. The lines are the left and right side of the brackets, or the top and bottom side.
    Procedure:
    1. The first cell, row by row, that is not background belongs to a bracket. Find the first and
       last row, and the first and last column with its color.
    2. If the first column has only this color between these rows, the lines are vertical: cells are
       mirrored to the left or right. Else they are horizontal: cells are mirrored up or down.
    3. For each cell between the brackets find the nearer one of the two lines.
    4. Remove the cell and draw it at the same distance on the other side of this line. Leave it out
       if it is outside of the grid.
    """
    height = len(grid)
    width = len(grid[0])
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)
    # 1. The first cell, row by row, that is not background belongs to a bracket. Find the first
    #    and last row, and the first and last column with its color.
    positions = [(r, c) for r in range(height) for c in range(width)]
    colored = [(r, c) for r, c in positions if grid[r][c] != background]
    color = grid[colored[0][0]][colored[0][1]]
    bracket = [(r, c) for r, c in colored if grid[r][c] == color]
    top = min(r for r, c in bracket)
    bottom = max(r for r, c in bracket)
    left = min(c for r, c in bracket)
    right = max(c for r, c in bracket)
    # 2. If the first column has only this color between these rows, the lines are vertical: cells
    #    are mirrored to the left or right. Else they are horizontal: cells are mirrored up or down.
    vertical = all(grid[r][left] == color for r in range(top, bottom + 1))
    output = [[cell if cell == color else background for cell in row] for row in grid]
    for r, c in colored:
        # 3. For each cell between the brackets find the nearer one of the two lines.
        if grid[r][c] == color:
            continue
        moving = grid[r][c]
        # 4. Remove the cell and draw it at the same distance on the other side of this line. Leave
        #    it out if it is outside of the grid.
        if vertical:
            line = left if c - left < right - c else right
            c = line - (c - line)
        else:
            line = top if r - top < bottom - r else bottom
            r = line - (r - line)
        if 0 <= r < height and 0 <= c < width:
            output[r][c] = moving
    result = output
    return result
