def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size; the background is the most common color.
    2. The input has objects of thin lines, one cell thick; cells that touch by a side belong
       together.
    3. In the output each object has color 1, 2 or 6, depending on its form; its place stays.
    4. An object where a line branches off from the middle of another one is 2.
    5. Of the others, an object of two lines, with one corner, is 1.
    6. The rest, objects of three lines with two corners, are 6.
    Procedure:
    1. Find the background: the most common color.
    2. Find each object: start at a cell that is not background and add all cells beside it that
       are not background, then those beside these, until none is left to add.
    3. For each cell of the object list the steps that lead to another cell of the object.
    4. If some cell has three or more of these steps, the object branches: color it 2.
    5. A cell is a corner if it has two such steps that are not opposite. Color the object 1 if it
       has one corner, else 6.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    flat = [cell for row in grid for cell in row]
    background = max(set(flat), key=flat.count)
    output = [row[:] for row in grid]
    directions = [(-1, 0), (1, 0), (0, -1), (0, 1)]

    def is_object(r, c):
        return 0 <= r < height and 0 <= c < width and grid[r][c] != background

    seen = set()
    for r in range(height):
        for c in range(width):
            if not is_object(r, c) or (r, c) in seen:
                continue
            # 2. Find each object: start at a cell that is not background and add all cells beside
            #    it that are not background, then those beside these, until none is left to add.
            seen.add((r, c))
            cells = [(r, c)]
            branches = False
            corners = 0
            for y, x in cells:
                # 3. For each cell of the object list the steps that lead to another cell of the
                #    object.
                steps = [(dy, dx) for dy, dx in directions if is_object(y + dy, x + dx)]
                for dy, dx in steps:
                    if (y + dy, x + dx) not in seen:
                        seen.add((y + dy, x + dx))
                        cells.append((y + dy, x + dx))
                # 4. If some cell has three or more of these steps, the object branches: color it 2.
                if len(steps) > 2:
                    branches = True
                # 5. A cell is a corner if it has two such steps that are not opposite. Color the
                #    object 1 if it has one corner, else 6.
                if len(steps) == 2 and steps[0][0] != -steps[1][0]:
                    corners += 1
            color = 2 if branches else 1 if corners == 1 else 6
            for y, x in cells:
                output[y][x] = color
    result = output
    return result
