def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color.
    3. The input has filled squares of one other color. They stay the same. A square at the border
       may be cut off: then it is a rectangle.
    4. Each square gets a ring of 3 around it. The ring is half as thick as the square is wide.
    5. Below each ring there is a shadow of 1. It has the columns of the square, and it reaches down
       to the bottom of the grid.
    6. A ring lies over shadows, and a square lies over rings and shadows.
    7. What lies outside the grid is cut off.
    Procedure:
    1. Find the background.
    2. Find the squares. A square starts at its top left cell: follow its first row to the right
       and its first column down. The longer one is its width.
    3. Draw the shadow of each square: color all cells below it with 1.
    4. Draw the ring of each square: color all cells with 3 that are around it, up to a distance of
       half its width in rows and in columns, the corners included.
    5. Draw the squares again.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    # 2. Find the squares. A square starts at its top left cell: follow its first row to the right
    #    and its first column down. The longer one is its width.
    squares = []
    seen = set()
    for r in range(height):
        for c in range(width):
            if grid[r][c] == background or (r, c) in seen:
                continue
            right = c
            while right < width and grid[r][right] == grid[r][c]:
                right += 1
            bottom = r
            while bottom < height and grid[bottom][c] == grid[r][c]:
                bottom += 1
            squares.append((r, bottom, c, right))
            for y in range(r, bottom):
                for x in range(c, right):
                    seen.add((y, x))
    output = [list(row) for row in grid]
    # 3. Draw the shadow of each square: color all cells below it with 1.
    for _, bottom, left, right in squares:
        for r in range(bottom, height):
            for c in range(left, right):
                output[r][c] = 1
    # 4. Draw the ring of each square: color all cells with 3 that are around it, up to a distance
    #    of half its width in rows and in columns, the corners included.
    for top, bottom, left, right in squares:
        ring = max(bottom - top, right - left) // 2
        for r in range(max(top - ring, 0), min(bottom + ring, height)):
            for c in range(max(left - ring, 0), min(right + ring, width)):
                output[r][c] = 3
    # 5. Draw the squares again.
    for r, c in seen:
        output[r][c] = grid[r][c]
    result = output
    return result
