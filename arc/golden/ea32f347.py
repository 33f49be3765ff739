def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The most common color is the background.
    3. There are three straight lines of cells, flat or upright, that do not touch by sides. They
       have three different lengths.
    4. In the output the longest line has the color 1, the shortest one 2, and the one between
       them 4.
    Procedure:
    1. Find the background.
    2. Collect the lines, as groups of cells that are connected by their sides.
    3. Find the longest and the shortest line by their numbers of cells.
    4. Color the longest line with 1, the shortest one with 2, and any other with 4.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [value for row in grid for value in row]
    background = max(set(cells), key=cells.count)
    # 2. Collect the lines, as groups of cells that are connected by their sides.
    lines = []
    seen = set()
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
            lines.append(group)
    # 3. Find the longest and the shortest line by their numbers of cells.
    longest = max(lines, key=len)
    shortest = min(lines, key=len)
    # 4. Color the longest line with 1, the shortest one with 2, and any other with 4.
    output = [list(row) for row in grid]
    for line in lines:
        if line == longest:
            color = 1
        elif line == shortest:
            color = 2
        else:
            color = 4
        for r, c in line:
            output[r][c] = color
    result = output
    return result
