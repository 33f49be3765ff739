def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color. Lines of one other color form the outlines of
       squares.
    3. The outlines stay the same, the cells inside get a new color.
    4. The squares inside have a side of 1, 3 or 5 where they become 7, and a side of 2, 4, 6 or
       8 where they become 2.
    5. So the new color is 7 when the side of the inner square is odd, and 2 when it is even.
    Procedure:
    1. Find the background: the most common color.
    2. Go through the background cells. If the cells above, left and above left are line cells,
       this may be the top left cell inside a square.
    3. Count the background cells from there to the right: this is the side of the inner square.
    4. Check that the inner square has only background and the outline around it has only lines.
    5. Then fill the inner square: with 7 if the side is odd, with 2 if it is even.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)
    output = [list(row) for row in grid]
    for r in range(1, height - 1):
        for c in range(1, width - 1):
            # 2. Go through the background cells. If the cells above, left and above left are line
            #    cells, this may be the top left cell inside a square.
            around = [grid[r - 1][c], grid[r][c - 1], grid[r - 1][c - 1]]
            if grid[r][c] != background or background in around:
                continue
            # 3. Count the background cells from there to the right: this is the side of the inner
            #    square.
            side = 0
            while c + side < width and grid[r][c + side] == background:
                side += 1
            if r + side >= height or c + side >= width:
                continue
            # 4. Check that the inner square has only background and the outline around it has
            #    only lines.
            closed = True
            for y in range(r - 1, r + side + 1):
                for x in range(c - 1, c + side + 1):
                    inside = r <= y < r + side and c <= x < c + side
                    if (grid[y][x] == background) != inside:
                        closed = False
            # 5. Then fill the inner square: with 7 if the side is odd, with 2 if it is even.
            if closed:
                for y in range(r, r + side):
                    for x in range(c, c + side):
                        output[y][x] = 7 if side % 2 == 1 else 2
    result = output
    return result
