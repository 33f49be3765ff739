def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output is small; the background is the most common color.
    2. The input has a small rectangle of cells of several colors. If some of its cells are
       background, the others still touch each other and reach all four sides of it.
    3. Besides it there is a big shape of one color, made of equal rectangular blocks.
    4. The rectangle and the shape do not touch, not even by corners.
    5. The shape has as many rows and columns of blocks as the rectangle has of cells.
    6. The output is the rectangle, but with background where the shape has no block.
    Procedure:
    1. Find the background: the most common color.
    2. Group the cells that are not background: cells that touch by side or corner belong together.
    3. The small rectangle is the smallest one around the group with the most colors.
    4. The shape is all other cells that are not background; take the smallest rectangle around it.
    5. The height of a block is the height of the shape divided by that of the rectangle; its width
       is the width of the shape divided by that of the rectangle.
    6. For each cell of the rectangle look at the top left cell of the shape's block in that place:
       keep the cell if that one is not background, else make it background.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    flat = [cell for row in grid for cell in row]
    background = max(set(flat), key=flat.count)
    # 2. Group the cells that are not background: cells that touch by side or corner belong
    #    together.
    groups = []
    seen = set()
    for r in range(height):
        for c in range(width):
            if grid[r][c] == background or (r, c) in seen:
                continue
            seen.add((r, c))
            cells = [(r, c)]
            for y, x in cells:
                for ny in range(max(y - 1, 0), min(y + 2, height)):
                    for nx in range(max(x - 1, 0), min(x + 2, width)):
                        if grid[ny][nx] != background and (ny, nx) not in seen:
                            seen.add((ny, nx))
                            cells.append((ny, nx))
            groups.append(cells)
    # 3. The small rectangle is the smallest one around the group with the most colors.
    small = max(groups, key=lambda cells: len({grid[y][x] for y, x in cells}))
    top, bottom = min(y for y, x in small), max(y for y, x in small)
    left, right = min(x for y, x in small), max(x for y, x in small)
    # 4. The shape is all other cells that are not background; take the smallest rectangle around
    #    it.
    shape = [cell for cells in groups if cells is not small for cell in cells]
    shape_top, shape_left = min(y for y, x in shape), min(x for y, x in shape)
    shape_height = max(y for y, x in shape) - shape_top + 1
    shape_width = max(x for y, x in shape) - shape_left + 1
    # 5. The height of a block is the height of the shape divided by that of the rectangle; its
    #    width is the width of the shape divided by that of the rectangle.
    block_height = shape_height // (bottom - top + 1)
    block_width = shape_width // (right - left + 1)
    # 6. For each cell of the rectangle look at the top left cell of the shape's block in that
    #    place: keep the cell if that one is not background, else make it background.
    output = []
    for r in range(top, bottom + 1):
        output.append([background] * (right - left + 1))
        for c in range(left, right + 1):
            y = shape_top + (r - top) * block_height
            x = shape_left + (c - left) * block_width
            if (y, x) in shape:
                output[r - top][c - left] = grid[r][c]
    result = output
    return result
