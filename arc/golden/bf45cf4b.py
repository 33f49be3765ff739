def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The background is the most common color.
    2. The input has a small rectangle of several colors without background, the tile.
    3. It also has a shape of one color, the plan, which does not touch the tile.
    4. The output is a mosaic: it has a tile, or a field of background of the same size, for each
       cell of the smallest rectangle around the plan.
    5. Where the plan has its color there is a tile, where it has background there is background.
    Procedure:
    1. Find the background: the most common color.
    2. Find the groups of cells that are not background: cells that touch by sides or corners belong
       together. The group with more than one color is the tile; all others together are the plan.
    3. Cut out the smallest rectangles around the tile and around the plan.
    4. For each row of the plan and each row of the tile make one row of the output: for each cell
       of the plan's row append the tile's row if the cell is not background, else as many cells of
       background.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    flat = [cell for row in grid for cell in row]
    background = max(set(flat), key=flat.count)
    # 2. Find the groups of cells that are not background: cells that touch by sides or corners
    #    belong together. The group with more than one color is the tile; all others together are
    #    the plan.
    tile_cells = []
    plan_cells = []
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
            if len({grid[y][x] for y, x in cells}) > 1:
                tile_cells += cells
            else:
                plan_cells += cells

    # 3. Cut out the smallest rectangles around the tile and around the plan.
    def cut_out(cells):
        rows = range(min(y for y, x in cells), max(y for y, x in cells) + 1)
        columns = range(min(x for y, x in cells), max(x for y, x in cells) + 1)
        return [[grid[y][x] for x in columns] for y in rows]

    tile = cut_out(tile_cells)
    plan = cut_out(plan_cells)
    # 4. For each row of the plan and each row of the tile make one row of the output: for each cell
    #    of the plan's row append the tile's row if the cell is not background, else as many cells
    #    of background.
    output = []
    for plan_row in plan:
        for tile_row in tile:
            row = []
            for cell in plan_row:
                row += tile_row if cell != background else [background] * len(tile_row)
            output.append(row)
    result = output
    return result
