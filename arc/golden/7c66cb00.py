def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is the most common color of the
       first row.
    2. Below there are bands: groups of rows, as wide as the grid, filled with one color. The first
       and the last cell of each of these rows have another color, the edge color of the band.
    3. Above the bands there are some objects of one or more colors.
    4. In the output the objects are gone, and the bands show prints at their bottom.
    5. In each band the parts of the objects that have the color of the band are printed, in the
       edge color of the band. They keep their columns.
    6. A part is a group of cells of one color that touch by sides. It has fallen down so that
       its lowest cells are in the last row of the band.
    Procedure:
    1. Find the rows of the bands: the first cell is not the background, and all cells between the
       first and the last cell have one color. Neighboring rows with the same colors are a band.
    2. Find the parts: cells of one color, not background, above the bands, that touch by sides.
    3. Remove all the parts.
    4. For each band take the parts that have its color.
    5. Move each of them down until its lowest row is the last row of the band, and draw it there
       with the edge color.
    """
    height = len(grid)
    width = len(grid[0])
    background = max(set(grid[0]), key=grid[0].count)
    # 1. Find the rows of the bands: the first cell is not the background, and all cells between the
    #    first and the last cell have one color. Neighboring rows with the same colors are a band.
    bands = {}
    band_rows = []
    for r in range(height):
        edge, inner = grid[r][0], grid[r][1]
        if edge != background and len(set(grid[r][1:-1])) == 1:
            band_rows.append(r)
            if r + 1 == height or grid[r + 1] != grid[r]:
                bands[r] = (edge, inner)
    # 2. Find the parts: cells of one color, not background, above the bands, that touch by sides.
    output = [list(row) for row in grid]
    parts = []
    seen = set()
    for start_r in range(min(band_rows, default=height)):
        for start_c in range(width):
            color = grid[start_r][start_c]
            if color == background or (start_r, start_c) in seen:
                continue
            cells = []
            stack = [(start_r, start_c)]
            while stack:
                r, c = stack.pop()
                if not (0 <= r < height and 0 <= c < width) or r in band_rows:
                    continue
                if (r, c) in seen or grid[r][c] != color:
                    continue
                seen.add((r, c))
                cells.append((r, c))
                # 3. Remove all the parts.
                output[r][c] = background
                stack += [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]
            parts.append((color, cells))
    for last, (edge, inner) in bands.items():
        for color, cells in parts:
            # 4. For each band take the parts that have its color.
            if color != inner:
                continue
            # 5. Move each of them down until its lowest row is the last row of the band, and draw
            #    it there with the edge color.
            down = last - max(r for r, c in cells)
            for r, c in cells:
                output[r + down][c] = edge
    result = output
    return result
