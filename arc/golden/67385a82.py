def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The input has cells of 0 and of one other color.
    3. The cells of the other color form objects. The cells of an object are joined by their sides.
    4. Objects of several cells become 8.
    5. Objects of a single cell stay the same.
    Procedure:
    1. Find the objects: cells that are not 0 and are joined by their sides.
    2. Count the cells of each object.
    3. If there are at least 2, color the object with 8.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the objects: cells that are not 0 and are joined by their sides.
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
                if (r, c) in seen or grid[r][c] == 0:
                    continue
                seen.add((r, c))
                cells.append((r, c))
                stack += [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]
            # 2. Count the cells of each object.
            # 3. If there are at least 2, color the object with 8.
            if len(cells) >= 2:
                for r, c in cells:
                    output[r][c] = 8
    result = output
    return result
