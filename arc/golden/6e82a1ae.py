def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. On the background, the most common color, there are small objects of one other color.
    3. The cells of an object are joined by their sides. Each object has 2, 3 or 4 cells.
    4. The objects stay in place and get new colors.
    5. Objects of 4 cells become 1, objects of 3 cells become 2, and objects of 2 cells become 3. So
       the number of cells and the new color have the sum 5.
    Procedure:
    1. Find the background: the most common color.
    2. Find the objects: cells that are not background and are joined by their sides.
    3. Count the cells of each object.
    4. Color the object with 5 minus this number.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    all_cells = [cell for row in grid for cell in row]
    background = max(set(all_cells), key=all_cells.count)
    # 2. Find the objects: cells that are not background and are joined by their sides.
    seen = set()
    output = [list(row) for row in grid]
    for start_r in range(height):
        for start_c in range(width):
            cells = []
            stack = [(start_r, start_c)]
            while stack:
                r, c = stack.pop()
                if not (0 <= r < height and 0 <= c < width):
                    continue
                if (r, c) in seen or grid[r][c] == background:
                    continue
                seen.add((r, c))
                cells.append((r, c))
                stack += [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]
            # 3. Count the cells of each object.
            size = len(cells)
            # 4. Color the object with 5 minus this number.
            for r, c in cells:
                output[r][c] = 5 - size
    result = output
    return result
