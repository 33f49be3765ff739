def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. On the background, the most common color, filled rectangles of other colors stand on the
       last row.
    3. In the output each rectangle has the same columns and the same size, but it is higher up.
    4. It has moved up by its own height.
    Procedure:
    1. Find the background: the most common color.
    2. Find the objects: cells of one color that are joined by their sides.
    3. Start with an empty grid of the background.
    4. Find the height of each object: its last row minus its first row plus one.
    5. Draw each of its cells that many rows higher.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    all_cells = [cell for row in grid for cell in row]
    background = max(set(all_cells), key=all_cells.count)
    # 2. Find the objects: cells of one color that are joined by their sides.
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
            objects.append((color, cells))
    # 3. Start with an empty grid of the background.
    output = [[background] * width for row in grid]
    for color, cells in objects:
        # 4. Find the height of each object: its last row minus its first row plus one.
        rows = [r for r, c in cells]
        object_height = max(rows) - min(rows) + 1
        # 5. Draw each of its cells that many rows higher.
        for r, c in cells:
            if r - object_height >= 0:
                output[r - object_height][c] = color
    result = output
    return result
