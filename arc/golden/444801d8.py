def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is the most common color.
    2. There are boxes: outlines of rectangles, each of one color and with a gap of one cell in one
       side. Boxes of the same color do not touch each other.
    3. In each box there is one cell of another color, the dot.
    4. In the output the inside of the box and the gap have the color of the dot.
    5. Outside, directly before the side with the gap, there is a line in the color of the dot. It
       is as long as this side.
    Procedure:
    1. Find the objects: cells of one color, not background, that are joined by their sides.
    2. Find the first and last row and column of the object.
    3. If there is a cell of another color, not background, between them, the object is a box and
       the cell is the dot.
    4. Color the inside of the box with the color of the dot.
    5. The gap is the background cell on the outline. Color it, too.
    6. Color the line outside of the side with the gap: in the row above or below the box, or in the
       column to its left or right. Leave out what is outside of the grid.
    """
    height = len(grid)
    width = len(grid[0])
    all_cells = [cell for row in grid for cell in row]
    background = max(set(all_cells), key=all_cells.count)
    # 1. Find the objects: cells of one color, not background, that are joined by their sides.
    seen = set()
    output = [list(row) for row in grid]
    for start_r in range(height):
        for start_c in range(width):
            wall = grid[start_r][start_c]
            if wall == background or (start_r, start_c) in seen:
                continue
            cells = []
            stack = [(start_r, start_c)]
            while stack:
                r, c = stack.pop()
                if not (0 <= r < height and 0 <= c < width):
                    continue
                if (r, c) in seen or grid[r][c] != wall:
                    continue
                seen.add((r, c))
                cells.append((r, c))
                stack += [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]
            # 2. Find the first and last row and column of the object.
            top = min(r for r, c in cells)
            bottom = max(r for r, c in cells)
            left = min(c for r, c in cells)
            right = max(c for r, c in cells)
            box = [(r, c) for r in range(top, bottom + 1) for c in range(left, right + 1)]
            # 3. If there is a cell of another color, not background, between them, the object is
            #    a box and the cell is the dot.
            dots = [grid[r][c] for r, c in box if grid[r][c] not in (wall, background)]
            if not dots:
                continue
            # 4. Color the inside of the box with the color of the dot.
            # 5. The gap is the background cell on the outline. Color it, too.
            for r, c in box:
                if grid[r][c] == wall:
                    continue
                output[r][c] = dots[0]
                # 6. Color the line outside of the side with the gap: in the row above or below the
                #    box, or in the column to its left or right. Leave out what is outside of the
                #    grid.
                line = []
                if r in (top, bottom):
                    line_r = top - 1 if r == top else bottom + 1
                    line = [(line_r, x) for x in range(left, right + 1)]
                elif c in (left, right):
                    line_c = left - 1 if c == left else right + 1
                    line = [(y, line_c) for y in range(top, bottom + 1)]
                for y, x in line:
                    if 0 <= y < height and 0 <= x < width:
                        output[y][x] = dots[0]
    result = output
    return result
