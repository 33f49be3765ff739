def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The most common color is the background; it is kept.
    3. The cells of the other color form groups of one, two or three cells that are connected by
       their sides.
    4. In the output a single cell has become 3, the cells of a group of two have become 2, and the
       cells of a group of three have become 1.
    Procedure:
    1. Find the background.
    2. Collect each group of cells that are not background and are connected by their sides.
    3. Count its cells, and subtract the count from 4: this is the color of the group.
    4. Color all cells of the group with it.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [value for row in grid for value in row]
    background = max(set(cells), key=cells.count)
    output = [list(row) for row in grid]
    seen = set()
    for row in range(height):
        for column in range(width):
            if grid[row][column] == background or (row, column) in seen:
                continue
            # 2. Collect each group of cells that are not background and are connected by their
            # sides.
            group = [(row, column)]
            seen.add((row, column))
            for r, c in group:
                for nr, nc in [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]:
                    if not (0 <= nr < height and 0 <= nc < width) or (nr, nc) in seen:
                        continue
                    if grid[nr][nc] != background:
                        seen.add((nr, nc))
                        group.append((nr, nc))
            # 3. Count its cells, and subtract the count from 4: this is the color of the group.
            color = 4 - len(group)
            # 4. Color all cells of the group with it.
            for r, c in group:
                output[r][c] = color
    result = output
    return result
