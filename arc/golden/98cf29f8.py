def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. On the background, the most common color, there are two filled rectangles of different
       colors, both at least 2 cells high and wide.
    3. A straight line, one cell thick, joins them. It has the color of one of the two.
    4. The rectangle without a line stays where it is.
    5. In the output the line is gone. The rectangle of its color has moved along it by the length
       of the line, so that it touches the other one.
    Procedure:
    1. Find the background: the most common color.
    2. For each other color sort its cells: those in some 2x2 square of this color belong to the
       rectangle, the others to the line.
    3. The color that has line cells is the moving one. The length is the number of its line cells.
    4. The line points up if it starts above the rectangle, down if it is below, left if it is to
       its left, right if it is to its right.
    5. Remove all cells of the moving color. Draw its rectangle shifted by the length in the
       direction of the line.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)
    output = [list(row) for row in grid]
    for color in sorted(set(cells) - {background}):
        # 2. For each other color sort its cells: those in some 2x2 square of this color belong to
        #    the rectangle, the others to the line.
        block = set()
        for r in range(height - 1):
            for c in range(width - 1):
                square = [(r, c), (r, c + 1), (r + 1, c), (r + 1, c + 1)]
                if all(grid[y][x] == color for y, x in square):
                    block.update(square)
        positions = [(r, c) for r in range(height) for c in range(width)]
        line = [(r, c) for r, c in positions if grid[r][c] == color and (r, c) not in block]
        # 3. The color that has line cells is the moving one. The length is the number of its line
        #    cells.
        if not line:
            continue
        length = len(line)
        # 4. The line points up if it starts above the rectangle, down if it is below, left if it is
        #    to its left, right if it is to its right.
        rows = [r for r, c in block]
        columns = [c for r, c in block]
        line_r, line_c = line[0]
        down = (line_r > max(rows)) - (line_r < min(rows))
        right = (line_c > max(columns)) - (line_c < min(columns))
        # 5. Remove all cells of the moving color. Draw its rectangle shifted by the length in the
        #    direction of the line.
        for r, c in line + sorted(block):
            output[r][c] = background
        for r, c in block:
            output[r + down * length][c + right * length] = color
    result = output
    return result
