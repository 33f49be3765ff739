def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size; the background is the most common color.
    2. The input has many scattered cells of random colors.
    3. It also has one solid rectangle of one color, at least two cells wide and high.
    4. No other solid rectangle of one color besides the background has as many cells.
    5. In the output only this rectangle is left, all other cells are background.
    Procedure:
    1. Find the background: the most common color.
    2. For each cell that is not background, take it as the top left corner of a rectangle.
    3. Go down row by row while the first cell has the same color, and count how far to the right
       all rows so far have this color.
    4. Of all these rectangles with at least two rows and two columns keep the one with the most
       cells.
    5. Make an output of background, and draw this rectangle in it.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    flat = [cell for row in grid for cell in row]
    background = max(set(flat), key=flat.count)
    best = (0, 0, 0, 0, 0)
    for top in range(height):
        for left in range(width):
            # 2. For each cell that is not background, take it as the top left corner of a
            #    rectangle.
            color = grid[top][left]
            if color == background:
                continue
            # 3. Go down row by row while the first cell has the same color, and count how far to
            #    the right all rows so far have this color.
            end = width
            bottom = top
            while bottom < height and grid[bottom][left] == color:
                right = left
                while right < end and grid[bottom][right] == color:
                    right += 1
                end = right
                bottom += 1
                # 4. Of all these rectangles with at least two rows and two columns keep the one
                #    with the most cells.
                size = (bottom - top) * (end - left)
                if size > best[0] and bottom - top > 1 and end - left > 1:
                    best = (size, top, left, bottom, end)
    # 5. Make an output of background, and draw this rectangle in it.
    output = [[background] * width for _ in range(height)]
    size, top, left, bottom, end = best
    for r in range(top, bottom):
        for c in range(left, end):
            output[r][c] = grid[top][left]
    result = output
    return result
