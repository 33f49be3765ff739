def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output is smaller than the input.
    2. The background is the most common color. There are a few figures, each of a color of its own.
    3. One figure is an enlarged copy of another one: each cell has become a 2x2 block.
    4. The enlarged copy may stick out of the grid, so that a part of it is missing.
    5. The output is the small figure of this pair, cut out, with background around its cells.
    Procedure:
    1. Find the background and the cells of each other color.
    2. Go through the pairs of a small and a large figure. Double the small figure: each cell
       becomes a 2x2 block.
    3. Try all places of the doubled figure that cover some of the grid, and leave out the cells
       outside of the grid.
    4. If the remaining cells are exactly those of the large figure, the small figure is found. If
       there are several, prefer the one with the most cells remaining.
    5. Cut out the small figure, with background around its cells.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background and the cells of each other color.
    all_cells = [cell for row in grid for cell in row]
    background = max(set(all_cells), key=all_cells.count)
    figures = {}
    for r in range(height):
        for c in range(width):
            if grid[r][c] != background:
                figures.setdefault(grid[r][c], set()).add((r, c))
    found = []
    for small in figures:
        # 2. Go through the pairs of a small and a large figure. Double the small figure: each cell
        #    becomes a 2x2 block.
        top = min(r for r, c in figures[small])
        left = min(c for r, c in figures[small])
        doubled = set()
        for r, c in figures[small]:
            for y in (2 * (r - top), 2 * (r - top) + 1):
                for x in (2 * (c - left), 2 * (c - left) + 1):
                    doubled.add((y, x))
        # 3. Try all places of the doubled figure that cover some of the grid, and leave out the
        #    cells outside of the grid.
        high = max(y for y, x in doubled)
        wide = max(x for y, x in doubled)
        for down in range(-high, height):
            for right in range(-wide, width):
                moved = set()
                for y, x in doubled:
                    if 0 <= y + down < height and 0 <= x + right < width:
                        moved.add((y + down, x + right))
                # 4. If the remaining cells are exactly those of the large figure, the small figure
                #    is found. If there are several, prefer the one with the most cells remaining.
                for large in figures:
                    if large != small and moved == figures[large]:
                        found.append((len(moved), small))
    # 5. Cut out the small figure, with background around its cells.
    cells = figures[max(found)[1]]
    rows = sorted(r for r, c in cells)
    columns = sorted(c for r, c in cells)
    cut = []
    for r in range(rows[0], rows[-1] + 1):
        line = range(columns[0], columns[-1] + 1)
        cut.append([grid[r][c] if (r, c) in cells else background for c in line])
    result = cut
    return result
