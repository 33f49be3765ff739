def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The background is the most common color.
    2. Many cells of some colors are scattered over the input.
    3. One shape is much larger than the scattered groups of cells.
    4. It is the largest group of touching cells of one color, corner to corner included.
    5. The output is the box around this shape, with only the shape in it.
    Procedure:
    1. Find the groups of touching cells of one color besides the background.
    2. Take the largest group.
    3. Find the first and the last row and column of the group.
    4. Make a box of background of this size and draw the group in it.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the groups of touching cells of one color besides the background.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    groups = []
    seen = set()
    for r in range(height):
        for c in range(width):
            if grid[r][c] == background or (r, c) in seen:
                continue
            group = [(r, c)]
            seen.add((r, c))
            for y, x in group:
                for ny in range(max(y - 1, 0), min(y + 2, height)):
                    for nx in range(max(x - 1, 0), min(x + 2, width)):
                        if grid[ny][nx] == grid[r][c] and (ny, nx) not in seen:
                            seen.add((ny, nx))
                            group.append((ny, nx))
            groups.append(group)
    # 2. Take the largest group.
    largest = max(groups, key=len)
    # 3. Find the first and the last row and column of the group.
    top = min(r for r, _ in largest)
    bottom = max(r for r, _ in largest)
    left = min(c for _, c in largest)
    right = max(c for _, c in largest)
    # 4. Make a box of background of this size and draw the group in it.
    box = [[background] * (right - left + 1) for _ in range(bottom - top + 1)]
    for r, c in largest:
        box[r - top][c - left] = grid[r][c]
    result = box
    return result
