def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. One row and one column on the border of the input are a colored frame: they meet in a corner.
    2. The other cells have two colors, which the frame does not have: a background and a filled
       rectangle that does not reach from one side to the opposite side.
    3. The output is the input scaled up: each cell becomes a square block.
    4. The side of a block is the number of colors of the input without the background.
    5. Diagonal lines of 2 start at the corners of the rectangle and go away from it.
    6. They go over background and stop at the first other cell or at the border of the grid.
    Procedure:
    1. Try each of the four corners: cut off its row and its column, and look whether the other
       cells have two colors that the row and the column do not have.
    2. If so, the rectangle is the color that fills a whole box, and the other is the background.
    3. Count the colors without the background, and draw each cell as a block of that size.
    4. Find the corners of the rectangle in the output.
    5. From each corner go diagonally away and set cells to 2, as long as they are background.
    """
    height = len(grid)
    width = len(grid[0])
    rectangle = [(0, 0)]
    background = 0
    # 1. Try each of the four corners: cut off its row and its column, and look whether the other
    #    cells have two colors that the row and the column do not have.
    for frame_row in (0, height - 1):
        for frame_column in (0, width - 1):
            inner = []
            frame_colors = set()
            for r in range(height):
                for c in range(width):
                    if r == frame_row or c == frame_column:
                        frame_colors.add(grid[r][c])
                    else:
                        inner.append((r, c))
            colors = {grid[r][c] for r, c in inner}
            if len(colors) != 2 or colors & frame_colors:
                continue
            # 2. If so, the rectangle is the color that fills a whole box, and the other is the
            #    background.
            for color in colors:
                group = [(r, c) for r, c in inner if grid[r][c] == color]
                rows = group[-1][0] - group[0][0] + 1
                columns = group[-1][1] - group[0][1] + 1
                if rows * columns == len(group) and columns == len({c for _, c in group}):
                    rectangle = group
                    background = min(colors - {color})
    # 3. Count the colors without the background, and draw each cell as a block of that size.
    size = len({cell for row in grid for cell in row if cell != background})
    output = []
    for row in grid:
        for _ in range(size):
            output.append([cell for cell in row for _ in range(size)])
    # 4. Find the corners of the rectangle in the output.
    top = rectangle[0][0] * size
    left = rectangle[0][1] * size
    bottom = (rectangle[-1][0] + 1) * size - 1
    right = (rectangle[-1][1] + 1) * size - 1
    # 5. From each corner go diagonally away and set cells to 2, as long as they are background.
    for r, dr in ((top, -1), (bottom, 1)):
        for c, dc in ((left, -1), (right, 1)):
            y, x = r + dr, c + dc
            while 0 <= y < len(output) and 0 <= x < len(output[0]) and output[y][x] == background:
                output[y][x] = 2
                y, x = y + dr, x + dc
    result = output
    return result
