def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is the most common color.
    2. There is a list of color pairs, two columns wide, one pair in each row. The colors in its
       left column are all different. It does not touch anything else.
    3. Outside of it there are small objects, each of one color: most colors have two of them, which
       are like the corners of a large rectangle. Some colors have only one object.
    4. In the output rectangles are filled. The list tells how: each color on the left side gets the
       color on the right side as filling.
    5. If the filling is 0 and the background is not 0, nothing is filled, and the cells of this
       color count as background.
    6. The rectangle of a color reaches from its first to its last row and column. With two objects
       only background is filled. With one object its cells are filled, too.
    7. Where rectangles overlap, the pair that is higher in the list wins.
    Procedure:
    1. Find the list: go through all pairs of neighboring columns and find rows side by side with
       different colors, not background, in the left column and only background around the pair.
    2. If the background is not 0, the colors with filling 0 count as background. Leave out their
       pairs. Go through the other pairs from the last to the first.
    3. Find the cells of the left color outside of the list, and the number of its objects: groups
       of cells that touch by sides or corners.
    4. Fill the background cells from the first to the last row and column of these cells. If there
       is one object, fill its own cells, too.
    """
    height = len(grid)
    width = len(grid[0])
    all_cells = [cell for row in grid for cell in row]
    background = max(set(all_cells), key=all_cells.count)

    def color_at(r, c):
        return grid[r][c] if 0 <= r < height and 0 <= c < width else background

    # 1. Find the list: go through all pairs of neighboring columns and find rows side by side with
    #    different colors, not background, in the left column and only background around the pair.
    pairs = []
    for left in range(width - 1):
        for top in range(height - 1):
            bottom = top
            while color_at(bottom, left) != background:
                bottom += 1
            rows = range(top, bottom)
            keys = [grid[r][left] for r in rows]
            sides = (left - 1, left + 2)
            around = [color_at(r, c) for r in range(top - 1, bottom + 1) for c in sides]
            around += [color_at(r, c) for r in (top - 1, bottom) for c in (left, left + 1)]
            if len(keys) >= 2 and len(set(keys)) == len(keys) and set(around) == {background}:
                pairs = [(r, left, grid[r][left], grid[r][left + 1]) for r in rows]
    in_list = {(r, c) for r, left, key, filling in pairs for c in (left, left + 1)}
    output = [list(row) for row in grid]
    # 2. If the background is not 0, the colors with filling 0 count as background. Leave out their
    #    pairs. Go through the other pairs from the last to the first.
    empty = {background}
    if background != 0:
        empty |= {key for r, c, key, filling in pairs if filling == 0}
    for _, _, key, filling in pairs[::-1]:
        if key in empty:
            continue
        # 3. Find the cells of the left color outside of the list, and the number of its objects:
        #    groups of cells that touch by sides or corners.
        positions = [(r, c) for r in range(height) for c in range(width)]
        cells = [(r, c) for r, c in positions if grid[r][c] == key and (r, c) not in in_list]
        if not cells:
            continue
        left_over = set(cells)
        count = 0
        while left_over:
            count += 1
            stack = [min(left_over)]
            while stack:
                r, c = stack.pop()
                if (r, c) in left_over:
                    left_over.remove((r, c))
                    stack += [(y, x) for y in (r - 1, r, r + 1) for x in (c - 1, c, c + 1)]
        # 4. Fill the background cells from the first to the last row and column of these cells. If
        #    there is one object, fill its own cells, too.
        columns = [c for r, c in cells]
        for r in range(cells[0][0], cells[-1][0] + 1):
            for c in range(min(columns), max(columns) + 1):
                if (r, c) in in_list:
                    continue
                if grid[r][c] in empty or (count == 1 and grid[r][c] == key):
                    output[r][c] = filling
    result = output
    return result
