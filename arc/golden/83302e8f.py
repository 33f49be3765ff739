def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. Straight lines of one color, one cell thick, cut the background into rooms.
    3. The lines have holes: single cells that have the color of the background.
    4. The most common color is the background.
    5. In the output the lines are unchanged, and each background cell has become 3 or 4.
    6. A room has more than one cell. A room without a hole in its walls is filled with 3.
    7. Rooms that are joined by holes are filled with 4, and so are all holes.
    Procedure:
    1. Find the background.
    2. Collect each region of background cells that are connected by their sides.
    3. Find the rectangle around the region.
    4. If the region has more than one cell and fills its whole rectangle, it is a room without a
       hole: fill it with 3.
    5. Otherwise fill it with 4.
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
            if grid[row][column] != background or (row, column) in seen:
                continue
            # 2. Collect each region of background cells that are connected by their sides.
            region = [(row, column)]
            seen.add((row, column))
            for r, c in region:
                for nr, nc in [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]:
                    if not (0 <= nr < height and 0 <= nc < width) or (nr, nc) in seen:
                        continue
                    if grid[nr][nc] == background:
                        seen.add((nr, nc))
                        region.append((nr, nc))
            # 3. Find the rectangle around the region.
            rows = [r for r, c in region]
            columns = [c for r, c in region]
            area = (max(rows) - min(rows) + 1) * (max(columns) - min(columns) + 1)
            # 4. If the region has more than one cell and fills its whole rectangle, it is a room
            # without a hole: fill it with 3.
            if len(region) > 1 and len(region) == area:
                color = 3
            # 5. Otherwise fill it with 4.
            else:
                color = 4
            for r, c in region:
                output[r][c] = color
    result = output
    return result
