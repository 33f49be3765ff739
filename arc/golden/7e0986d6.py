def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. On the background, the most common color, there are filled rectangles, at least 2 cells high
       and wide.
    3. Scattered dots lie on the background and on the rectangles. The colors of the dots are not
       those of the rectangles and nowhere fill a 2x2 square.
    4. In the output the dots are gone. The rectangles are complete, the rest is background.
    5. A dot belongs to a rectangle when it is in a 2x2 square of which the other three cells have
       the color of the rectangle.
    Procedure:
    1. Find the background: the most common color.
    2. Find the colors of the rectangles: those that fill some 2x2 square.
    3. For each dot look at the four 2x2 squares that contain it.
    4. If the other three cells of one of them have the same rectangle color, the dot gets this
       color. Else it becomes background.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)
    # 2. Find the colors of the rectangles: those that fill some 2x2 square.
    filled = set()
    for r in range(height - 1):
        for c in range(width - 1):
            if len({grid[r][c], grid[r][c + 1], grid[r + 1][c], grid[r + 1][c + 1]}) == 1:
                filled.add(grid[r][c])
    output = [list(row) for row in grid]
    for r in range(height):
        for c in range(width):
            if grid[r][c] == background or grid[r][c] in filled:
                continue
            # 3. For each dot look at the four 2x2 squares that contain it.
            output[r][c] = background
            for y in (r - 1, r + 1):
                for x in (c - 1, c + 1):
                    if not (0 <= y < height and 0 <= x < width):
                        continue
                    # 4. If the other three cells of one of them have the same rectangle color, the
                    #    dot gets this color. Else it becomes background.
                    color = grid[y][x]
                    if color in filled - {background} and grid[y][c] == grid[r][x] == color:
                        output[r][c] = color
    result = output
    return result
