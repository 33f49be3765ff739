def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The most common color is the background.
    3. All other cells form objects: groups of cells that are connected by their sides.
    4. In the output an object of exactly six cells has the color 2, all other objects have the
       color 1. The shape of an object does not matter.
    Procedure:
    1. Find the background.
    2. Collect each object, starting from one of its cells and adding neighbors by side.
    3. Count its cells.
    4. Color all its cells with 2 if there are six of them, else with 1.
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
            # 2. Collect each object, starting from one of its cells and adding neighbors by side.
            group = [(row, column)]
            seen.add((row, column))
            for r, c in group:
                for nr, nc in [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]:
                    if not (0 <= nr < height and 0 <= nc < width) or (nr, nc) in seen:
                        continue
                    if grid[nr][nc] != background:
                        seen.add((nr, nc))
                        group.append((nr, nc))
            # 3. Count its cells.
            count = len(group)
            # 4. Color all its cells with 2 if there are six of them, else with 1.
            for r, c in group:
                output[r][c] = 2 if count == 6 else 1
    result = output
    return result
