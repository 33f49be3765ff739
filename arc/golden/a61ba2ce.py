def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The background is the most common color.
    2. The input has four pieces of one color each. Cells that touch side by side are one piece.
    3. A piece is an L: a column and a row, one cell thick, that meet in a corner.
    4. The smallest box around a piece has three colored corners, and one corner is background.
    5. In each piece it is another corner: top left, top right, bottom left or bottom right.
    6. The output is a frame made of the four pieces. Each lies in the corner of the output that is
       opposite to its background corner.
    Procedure:
    1. Find the background and the pieces.
    2. Cut out the box of each piece.
    3. The box belongs to the bottom if its background corner is at the top, and to the right if
       its background corner is on the left.
    4. Make an output of background, as high as the two boxes on the left together, and as wide as
       the two boxes at the top.
    5. Draw the colored cells of each box into its corner of the output.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background and the pieces.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    corners = {}
    seen = set()
    for r in range(height):
        for c in range(width):
            if grid[r][c] == background or (r, c) in seen:
                continue
            piece = [(r, c)]
            seen.add((r, c))
            for y, x in piece:
                for ny, nx in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                    inside = 0 <= ny < height and 0 <= nx < width
                    if inside and (ny, nx) not in seen and grid[ny][nx] == grid[r][c]:
                        seen.add((ny, nx))
                        piece.append((ny, nx))
            # 2. Cut out the box of each piece.
            rows = [y for y, _ in piece]
            columns = [x for _, x in piece]
            box = []
            for y in range(min(rows), max(rows) + 1):
                line = range(min(columns), max(columns) + 1)
                box.append([grid[y][x] if (y, x) in piece else background for x in line])
            # 3. The box belongs to the bottom if its background corner is at the top, and to the
            #    right if its background corner is on the left.
            bottom = background in (box[0][0], box[0][-1])
            right = background in (box[0][0], box[-1][0])
            corners[bottom, right] = box
    # 4. Make an output of background, as high as the two boxes on the left together, and as wide
    #    as the two boxes at the top.
    height = len(corners[False, False]) + len(corners[True, False])
    width = len(corners[False, False][0]) + len(corners[False, True][0])
    output = [[background] * width for _ in range(height)]
    # 5. Draw the colored cells of each box into its corner of the output.
    for (bottom, right), box in corners.items():
        top = height - len(box) if bottom else 0
        left = width - len(box[0]) if right else 0
        for r, row in enumerate(box):
            for c, color in enumerate(row):
                if color != background:
                    output[top + r][left + c] = color
    result = output
    return result
