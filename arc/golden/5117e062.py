def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The background is the most common color, and the output is small.
    2. The input has several objects of one color each, all with more than one cell.
    3. The cells of an object touch by sides or corners.
    4. In one of the objects one cell has another color; it touches no cell of its own color.
    5. The output is that object alone, cut out of the grid.
    6. In it the odd cell gets the color of the object.
    Procedure:
    1. Find the background: the most common color.
    2. Find the odd cell: not background, and of the up to eight cells that touch it, by side or
       corner, none has its color but some are not background.
    3. The color of the object is the most frequent one of these that is not background.
    4. Start at the odd cell, and add all cells of that color that touch it, by side or corner, then
       those that touch these, until none is left to add.
    5. The output is the smallest rectangle around these cells: the object's color where they are,
       else background.
    """
    height = len(grid)
    width = len(grid[0])

    def touching(r, c):
        rows = range(max(r - 1, 0), min(r + 2, height))
        columns = range(max(c - 1, 0), min(c + 2, width))
        return [(y, x) for y in rows for x in columns if (y, x) != (r, c)]

    # 1. Find the background: the most common color.
    flat = [cell for row in grid for cell in row]
    background = max(set(flat), key=flat.count)
    # 2. Find the odd cell: not background, and of the up to eight cells that touch it, by side or
    #    corner, none has its color but some are not background.
    for r in range(height):
        for c in range(width):
            near = [grid[y][x] for y, x in touching(r, c)]
            others = [color for color in near if color != background]
            if grid[r][c] != background and others and grid[r][c] not in others:
                odd_cell = (r, c)
                # 3. The color of the object is the most frequent one of these that is not
                #    background.
                main = max(set(others), key=others.count)
    # 4. Start at the odd cell, and add all cells of that color that touch it, by side or corner,
    #    then those that touch these, until none is left to add.
    cells = [odd_cell]
    for r, c in cells:
        for y, x in touching(r, c):
            if grid[y][x] == main and (y, x) not in cells:
                cells.append((y, x))
    # 5. The output is the smallest rectangle around these cells: the object's color where they are,
    #    else background.
    rows = range(min(r for r, c in cells), max(r for r, c in cells) + 1)
    columns = range(min(c for r, c in cells), max(c for r, c in cells) + 1)
    result = [[main if (r, c) in cells else background for c in columns] for r in rows]
    return result
