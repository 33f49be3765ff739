def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. Lines of one color, whole rows or whole columns, divide the grid into rectangular parts.
       Outside of these lines there is no cell of this color.
    3. Each part has one cell of a color from 1 to 4, its other cells have the background color,
       which is the same in all parts.
    4. The lines stay the same.
    5. All cells of a part get the color of this cell plus 5: 1 becomes 6, 2 becomes 7, and so on.
    Procedure:
    1. Find the color of the lines: all cells of it lie in a whole row or column of this color.
    2. Go through the other cells, and collect each part: all cells that can be reached from the
       cell with steps up, down, left and right, without crossing a line.
    3. Find the color of the part that comes only once in it.
    4. Fill the part with this color plus 5.
    """
    height = len(grid)
    width = len(grid[0])
    output = [list(row) for row in grid]
    # 1. Find the color of the lines: all cells of it lie in a whole row or column of this color.
    colors = {cell for row in grid for cell in row}
    for row in grid:
        for c, color in enumerate(row):
            if set(row) != {color} and {other[c] for other in grid} != {color}:
                colors.discard(color)
    # 2. Go through the other cells, and collect each part: all cells that can be reached from the
    #    cell with steps up, down, left and right, without crossing a line.
    seen = set()
    for r in range(height):
        for c in range(width):
            if grid[r][c] in colors or (r, c) in seen:
                continue
            part = [(r, c)]
            seen.add((r, c))
            for y, x in part:
                for ny, nx in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                    inside = 0 <= ny < height and 0 <= nx < width
                    if inside and (ny, nx) not in seen and grid[ny][nx] not in colors:
                        seen.add((ny, nx))
                        part.append((ny, nx))
            # 3. Find the color of the part that comes only once in it.
            part_colors = [grid[y][x] for y, x in part]
            color = min(part_colors, key=part_colors.count)
            # 4. Fill the part with this color plus 5.
            for y, x in part:
                output[y][x] = color + 5
    result = output
    return result
