def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The background is the most common color, and the output is small.
    2. The input has several objects, all with more than two cells. The cells of an object touch by
       sides or corners; different objects do not touch each other.
    3. Each object has one color, but in one of the objects one cell has another color.
    4. The output is that object alone, cut out of the grid.
    5. In it the odd cell gets the color of the object.
    Procedure:
    1. Find the background: the most common color.
    2. Find each object: start at a cell that is not background, and add all cells that touch it, by
       side or corner, and are not background, then those that touch these, and so on.
    3. Look for the object that has two colors. Its color is the more frequent one of the two.
    4. Make a picture of background, as large as the smallest rectangle around the object.
    5. Give all cells of the object the color of the object.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    flat = [cell for row in grid for cell in row]
    background = max(set(flat), key=flat.count)
    seen = set()
    for r in range(height):
        for c in range(width):
            if grid[r][c] == background or (r, c) in seen:
                continue
            # 2. Find each object: start at a cell that is not background, and add all cells that
            #    touch it, by side or corner, and are not background, then those that touch these,
            #    and so on.
            seen.add((r, c))
            cells = [(r, c)]
            for y, x in cells:
                for ny in range(max(y - 1, 0), min(y + 2, height)):
                    for nx in range(max(x - 1, 0), min(x + 2, width)):
                        if grid[ny][nx] != background and (ny, nx) not in seen:
                            seen.add((ny, nx))
                            cells.append((ny, nx))
            # 3. Look for the object that has two colors. Its color is the more frequent one of the
            #    two.
            colors = [grid[y][x] for y, x in cells]
            if len(set(colors)) == 2:
                found = cells
                main = max(set(colors), key=colors.count)
    # 4. Make a picture of background, as large as the smallest rectangle around the object.
    top, bottom = min(y for y, x in found), max(y for y, x in found)
    left, right = min(x for y, x in found), max(x for y, x in found)
    output = [[background] * (right - left + 1) for _ in range(bottom - top + 1)]
    # 5. Give all cells of the object the color of the object.
    for y, x in found:
        output[y - top][x - left] = main
    result = output
    return result
