def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The most common color is the background.
    3. There are some objects: groups of cells of one color that are connected by their sides.
    4. Some objects are boxes: rectangular frames, one cell thick, with a free inside. Frames that
       are cut off by the border of the grid are not closed, and do not count as boxes.
    5. Inside a box lies another object, the model.
    6. In the output each object outside the boxes that has just the shape of a model, not turned
       and not mirrored, has got the color of this model. Nothing else changes.
    Procedure:
    1. Find the background, and collect the objects.
    2. Write down the shape of each object: the places of its cells, counted from its first row and
       its first column.
    3. Find the boxes: objects of at least 3 rows and 3 columns that have all cells of the border of
       the rectangle around them, and no others.
    4. The objects inside a box are the models. Note the color for each model's shape.
    5. Give each other object that is not a box and has a noted shape the color noted for it.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background, and collect the objects.
    cells = [value for row in grid for value in row]
    background = max(set(cells), key=cells.count)
    seen = set()
    objects = []
    for row in range(height):
        for column in range(width):
            color = grid[row][column]
            if color == background or (row, column) in seen:
                continue
            group = [(row, column)]
            seen.add((row, column))
            for r, c in group:
                for nr, nc in [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]:
                    inside = 0 <= nr < height and 0 <= nc < width
                    if inside and grid[nr][nc] == color and (nr, nc) not in seen:
                        seen.add((nr, nc))
                        group.append((nr, nc))
            objects.append(group)
    # 2. Write down the shape of each object: the places of its cells, counted from its first row
    # and its first column.
    def shape_of(group):
        top = min(r for r, c in group)
        left = min(c for r, c in group)
        return sorted((r - top, c - left) for r, c in group)
    # 3. Find the boxes: objects of at least 3 rows and 3 columns that have all cells of the border
    # of the rectangle around them, and no others.
    boxes = []
    for group in objects:
        shape = shape_of(group)
        bottom = max(r for r, c in shape)
        right = max(c for r, c in shape)
        on_border = [(r, c) for r, c in shape if r in (0, bottom) or c in (0, right)]
        full = len(shape) == len(on_border) == 2 * (bottom + right)
        if bottom >= 2 and right >= 2 and full:
            boxes.append(group)
    # 4. The objects inside a box are the models. Note the color for each model's shape.
    noted = []
    for box in boxes:
        for group in objects:
            row, column = group[0]
            in_rows = min(r for r, c in box) < row < max(r for r, c in box)
            in_columns = min(c for r, c in box) < column < max(c for r, c in box)
            if in_rows and in_columns:
                noted.append((shape_of(group), grid[row][column]))
    # 5. Give each other object that is not a box and has a noted shape the color noted for it.
    output = [list(row) for row in grid]
    for group in objects:
        if group in boxes:
            continue
        for shape, color in noted:
            if shape_of(group) == shape:
                for r, c in group:
                    output[r][c] = color
    result = output
    return result
