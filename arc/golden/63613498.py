def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is the most common
       color.
    2. A horizontal and a vertical line of one color cut off the top left corner of the grid. They
       start at the left and at the top border and meet at a corner.
    3. In this corner there is one object, the model. Outside there are several objects of other
       colors. Cells of one object have one color and are joined by their sides.
    4. One object outside has the same shape as the model, not turned or mirrored.
    5. In the output this object has the color of the lines. Nothing else changes.
    Procedure:
    1. Find the row and the column that meet in a cell, so that all cells of the row to the left of
       it and all cells of the column above it have its color, not background. If there are several,
       take those that cut off the largest corner. The color is that of the lines.
    2. Find the objects: cells of one color, not background, that are joined by their sides.
    3. The shape of an object is the distances of its cells from its first row and first column.
    4. The object inside of the corner is the model.
    5. Color each other object that has the shape of the model with the color of the lines.
    """
    height = len(grid)
    width = len(grid[0])
    all_cells = [cell for row in grid for cell in row]
    background = max(set(all_cells), key=all_cells.count)
    # 1. Find the row and the column that meet in a cell, so that all cells of the row to the left
    #    of it and all cells of the column above it have its color, not background. If there are
    #    several, take those that cut off the largest corner. The color is that of the lines.
    end_r, end_c = 0, 0
    for r in range(1, height):
        for c in range(1, width):
            lines = grid[r][: c + 1] + [row[c] for row in grid[:r]]
            if len(set(lines)) == 1 and lines[0] != background and r * c > end_r * end_c:
                end_r, end_c = r, c
    line = grid[end_r][end_c]
    # 2. Find the objects: cells of one color, not background, that are joined by their sides.
    seen = set()
    objects = []
    for start_r in range(height):
        for start_c in range(width):
            color = grid[start_r][start_c]
            if color == background or (start_r, start_c) in seen:
                continue
            cells = []
            stack = [(start_r, start_c)]
            while stack:
                r, c = stack.pop()
                if not (0 <= r < height and 0 <= c < width):
                    continue
                if (r, c) in seen or grid[r][c] != color:
                    continue
                seen.add((r, c))
                cells.append((r, c))
                stack += [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]
            objects.append(sorted(cells))
    # 3. The shape of an object is the distances of its cells from its first row and first column.
    shapes = []
    for cells in objects:
        top = min(r for r, c in cells)
        left = min(c for r, c in cells)
        shapes.append([(r - top, c - left) for r, c in cells])
    # 4. The object inside of the corner is the model.
    model = []
    for cells, shape in zip(objects, shapes, strict=True):
        if max(r for r, c in cells) < end_r and max(c for r, c in cells) < end_c:
            model = shape
            model_cells = cells
    # 5. Color each other object that has the shape of the model with the color of the lines.
    output = [list(row) for row in grid]
    for cells, shape in zip(objects, shapes, strict=True):
        if shape == model and cells != model_cells:
            for r, c in cells:
                output[r][c] = line
    result = output
    return result
