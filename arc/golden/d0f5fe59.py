def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input has two colors; the background is the most common one.
    2. The cells of the other color form objects; cells that touch by a side belong together.
    3. The output is a square with as many rows as the input has objects.
    4. In it the diagonal from the top left has the objects' color, the rest is background.
    Procedure:
    1. Find the background, the most common color, and the other color.
    2. Start a new object at each cell of the other color that is not yet part of one, and count it.
    3. Add the cells of that color beside it, then those beside these, until none is left to add.
    4. Make a square of background with as many rows as there are objects.
    5. Color the cells of the square whose row and column are equal.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background, the most common color, and the other color.
    flat = [cell for row in grid for cell in row]
    background = max(set(flat), key=flat.count)
    color = min(set(flat), key=flat.count)
    # 2. Start a new object at each cell of the other color that is not yet part of one, and count
    #    it.
    count = 0
    seen = set()
    for r in range(height):
        for c in range(width):
            if grid[r][c] == background or (r, c) in seen:
                continue
            count += 1
            # 3. Add the cells of that color beside it, then those beside these, until none is left
            #    to add.
            seen.add((r, c))
            cells = [(r, c)]
            for y, x in cells:
                for ny, nx in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                    in_grid = 0 <= ny < height and 0 <= nx < width
                    if in_grid and grid[ny][nx] == color and (ny, nx) not in seen:
                        seen.add((ny, nx))
                        cells.append((ny, nx))
    # 4. Make a square of background with as many rows as there are objects.
    output = [[background] * count for _ in range(count)]
    # 5. Color the cells of the square whose row and column are equal.
    for i in range(count):
        output[i][i] = color
    result = output
    return result
