def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. There are some solid rectangles on a background of one color. They are filled with cells of
       several other colors, and do not touch each other by sides.
    2. The background need not be the most common color.
    3. The output is a copy of one of the rectangles.
    4. It is the one that has the most cells of color 2.
    Procedure:
    1. Try each color as the background, the most common one first.
    2. Collect the groups of all other cells that are connected by their sides. The color is the
       background if each group fills the whole rectangle between its first and last row and its
       first and last column.
    3. Count the cells of color 2 of each group, and take the group with the most.
    4. Copy its rectangle.
    """
    height = len(grid)
    width = len(grid[0])
    def find_groups(background):
        seen = set()
        groups = []
        for row in range(height):
            for column in range(width):
                if grid[row][column] == background or (row, column) in seen:
                    continue
                group = [(row, column)]
                seen.add((row, column))
                for r, c in group:
                    for nr, nc in [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]:
                        if not (0 <= nr < height and 0 <= nc < width) or (nr, nc) in seen:
                            continue
                        if grid[nr][nc] != background:
                            seen.add((nr, nc))
                            group.append((nr, nc))
                groups.append(group)
        return groups
    def rectangle(group):
        rows = [r for r, c in group]
        columns = [c for r, c in group]
        return min(rows), max(rows) + 1, min(columns), max(columns) + 1
    # 1. Try each color as the background, the most common one first.
    cells = [value for row in grid for value in row]
    for background in sorted(set(cells), key=cells.count, reverse=True):
        # 2. Collect the groups of all other cells that are connected by their sides. The color is
        # the background if each group fills the whole rectangle between its first and last row
        # and its first and last column.
        groups = find_groups(background)
        solid = True
        for group in groups:
            top, bottom, left, right = rectangle(group)
            if len(group) != (bottom - top) * (right - left):
                solid = False
        if solid:
            break
    # 3. Count the cells of color 2 of each group, and take the group with the most.
    most = -1
    for group in groups:
        count = [grid[r][c] for r, c in group].count(2)
        if count > most:
            most = count
            best = group
    # 4. Copy its rectangle.
    top, bottom, left, right = rectangle(best)
    output = [grid[r][left:right] for r in range(top, bottom)]
    result = output
    return result
