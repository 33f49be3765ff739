def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The middle row and the middle column of the input have one color. They are a cross that
       divides it into four parts of the same size.
    2. Each part has the background and one other color. The background is the color that the most
       parts have.
    3. The output is as large as one part. It shows all four parts, one over the other.
    4. Where several parts have a color, the top left part is seen first, then the top right part,
       then the bottom left part and then the bottom right part.
    Procedure:
    1. Find the size of a part: half of the rows and half of the columns, without the cross.
    2. Cut out the four parts, and find the background.
    3. Make an output of background.
    4. Draw the colored cells of the parts, from the bottom right part to the top left part, so that
       a part covers the parts drawn before.
    """
    # 1. Find the size of a part: half of the rows and half of the columns, without the cross.
    height = len(grid) // 2
    width = len(grid[0]) // 2
    # 2. Cut out the four parts, and find the background.
    top = grid[:height]
    bottom = grid[height + 1 :]
    top_left = [row[:width] for row in top]
    top_right = [row[width + 1 :] for row in top]
    bottom_left = [row[:width] for row in bottom]
    bottom_right = [row[width + 1 :] for row in bottom]
    parts = (bottom_right, bottom_left, top_right, top_left)
    colors = [cell for part in parts for cell in {cell for row in part for cell in row}]
    background = max(colors, key=colors.count)
    # 3. Make an output of background.
    output = [[background] * width for _ in range(height)]
    # 4. Draw the colored cells of the parts, from the bottom right part to the top left part, so
    #    that a part covers the parts drawn before.
    for part in parts:
        for r in range(height):
            for c in range(width):
                if part[r][c] != background:
                    output[r][c] = part[r][c]
    result = output
    return result
