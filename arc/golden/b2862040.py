def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color.
    3. The input has figures of one other color. Cells that touch side by side are one figure.
    4. Some figures enclose background: from there one cannot walk to the border of the grid, step
       by step up, down, left and right, without crossing a figure.
    5. Figures that enclose background become 8, the others stay the same.
    Procedure:
    1. Find the background.
    2. Mark all background cells on the border of the grid, and then each background cell next to a
       marked cell.
    3. Background cells without a mark are enclosed: list their neighbors that are not background.
    4. Color these cells with 8, and each cell of a figure next to a cell that became 8.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)

    def neighbors(r: int, c: int) -> list[tuple[int, int]]:
        places = [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]
        return [(y, x) for y, x in places if 0 <= y < height and 0 <= x < width]

    # 2. Mark all background cells on the border of the grid, and then each background cell next
    #    to a marked cell.
    marked = []
    for r in range(height):
        for c in range(width):
            on_border = r in (0, height - 1) or c in (0, width - 1)
            if on_border and grid[r][c] == background:
                marked.append((r, c))
    seen = set(marked)
    for r, c in marked:
        for y, x in neighbors(r, c):
            if grid[y][x] == background and (y, x) not in seen:
                seen.add((y, x))
                marked.append((y, x))
    # 3. Background cells without a mark are enclosed: list their neighbors that are not
    #    background.
    found = []
    for r in range(height):
        for c in range(width):
            if grid[r][c] == background and (r, c) not in seen:
                found += [(y, x) for y, x in neighbors(r, c) if grid[y][x] != background]
    # 4. Color these cells with 8, and each cell of a figure next to a cell that became 8.
    output = [list(row) for row in grid]
    seen = set(found)
    for r, c in found:
        output[r][c] = 8
        for y, x in neighbors(r, c):
            if grid[y][x] != background and (y, x) not in seen:
                seen.add((y, x))
                found.append((y, x))
    result = output
    return result
