def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output is smaller than the input.
    2. On the background, the most common color, there are a few objects, each of one color. The
       cells of an object touch by sides or corners.
    3. The output is one of these objects, cut out of the grid.
    4. This object is the only one that is symmetric: its left half is the mirror image of its right
       half.
    Procedure:
    1. Find the background: the most common color.
    2. Find the objects: cells of one color that touch by sides or corners.
    3. Cut out each object: its cells, with background around, from its first to its last row and
       column.
    4. Reverse each row of it. If nothing changes, the object is symmetric: take it.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    all_cells = [cell for row in grid for cell in row]
    background = max(set(all_cells), key=all_cells.count)
    # 2. Find the objects: cells of one color that touch by sides or corners.
    seen = set()
    symmetric = []
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
                stack += [(y, x) for y in (r - 1, r, r + 1) for x in (c - 1, c, c + 1)]
            # 3. Cut out each object: its cells, with background around, from its first to its last
            #    row and column.
            top = min(r for r, c in cells)
            left = min(c for r, c in cells)
            bottom = max(r for r, c in cells)
            right = max(c for r, c in cells)
            part = [[background] * (right - left + 1) for r in range(top, bottom + 1)]
            for r, c in cells:
                part[r - top][c - left] = color
            # 4. Reverse each row of it. If nothing changes, the object is symmetric: take it.
            if [row[::-1] for row in part] == part:
                symmetric = part
    result = symmetric
    return result
