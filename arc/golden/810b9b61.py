def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The input has a background, the most common color, and objects of other colors.
    3. Each object consists of thin lines. Its cells are joined by their sides.
    4. Some objects become 3, the others stay the same.
    5. The objects that become 3 are closed: background cells lie inside, and no path leads from
       them to the outside without crossing the object, not even one with diagonal steps.
    Procedure:
    1. Find the background: the most common color.
    2. Find the objects: cells of one color that are joined by their sides.
    3. Take the rectangle around the object with a margin of one cell. Start outside the object, in
       the corner of the margin, and step in all 8 directions without entering the object.
    4. If some cells of the rectangle are neither reached nor part of the object, the object is
       closed: color it with 3.
    """
    height = len(grid)
    width = len(grid[0])

    sides = [(-1, 0), (1, 0), (0, -1), (0, 1)]
    corners = [(-1, -1), (-1, 1), (1, -1), (1, 1)]

    def fill(start, allowed, steps):
        found = set()
        stack = [start]
        while stack:
            r, c = stack.pop()
            if (r, c) in allowed and (r, c) not in found:
                found.add((r, c))
                stack += [(r + dr, c + dc) for dr, dc in steps]
        return found

    # 1. Find the background: the most common color.
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)
    # 2. Find the objects: cells of one color that are joined by their sides.
    positions = [(r, c) for r in range(height) for c in range(width)]
    left_over = {(r, c) for r, c in positions if grid[r][c] != background}
    output = [list(row) for row in grid]
    while left_over:
        shape = fill(min(left_over), left_over, sides)
        left_over -= shape
        # 3. Take the rectangle around the object with a margin of one cell. Start outside the
        #    object, in the corner of the margin, and step in all 8 directions without entering
        #    the object.
        rows = [r for r, c in shape]
        columns = [c for r, c in shape]
        top, bottom = min(rows) - 1, max(rows) + 1
        left, right = min(columns) - 1, max(columns) + 1
        box = {(r, c) for r in range(top, bottom + 1) for c in range(left, right + 1)}
        outside = fill((top, left), box - shape, sides + corners)
        # 4. If some cells of the rectangle are neither reached nor part of the object, the object
        #    is closed: color it with 3.
        if box - shape - outside:
            for r, c in shape:
                output[r][c] = 3
    result = output
    return result
