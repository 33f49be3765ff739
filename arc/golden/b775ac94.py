def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size; the background is the most common color.
    2. The input has some objects; the cells of an object touch by sides or corners.
    3. An object has a main part of one color and one, two or three single cells of other colors.
    4. A single cell lies just outside the smallest rectangle around the main part: beside one of
       its sides, or diagonally at one of its corners.
    5. In the output the main part is mirrored for each single cell, in the color of that cell.
    6. The mirror is the side of the rectangle beyond which the single cell lies. If it lies beyond
       two sides, at a corner, the main part is mirrored at both.
    Procedure:
    1. Find the background: the most common color.
    2. Find each object: start at a cell that is not background, and add all cells that touch it, by
       side or corner, and are not background, then those that touch these, and so on.
    3. The main part is the cells of the most frequent color in the object. Find the top, bottom,
       left and right end of it.
    4. For each other cell of the object go through the cells of the main part.
    5. If the single cell is above the top, mirror the main cell's row at the top; if it is below
       the bottom, at the bottom. Do the same with its column at the left and the right end.
    6. Give the mirrored cell the color of the single cell, if it is in the grid.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    flat = [cell for row in grid for cell in row]
    background = max(set(flat), key=flat.count)
    output = [row[:] for row in grid]

    def mirror(place, single, first, last):
        # The place mirrored at the end beyond which the single cell lies, if it is beyond an end.
        if single < first:
            return 2 * first - 1 - place
        if single > last:
            return 2 * last + 1 - place
        return place

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
            # 3. The main part is the cells of the most frequent color in the object. Find the top,
            #    bottom, left and right end of it.
            colors = [grid[y][x] for y, x in cells]
            main_color = max(set(colors), key=colors.count)
            main = [(y, x) for y, x in cells if grid[y][x] == main_color]
            top, bottom = min(y for y, x in main), max(y for y, x in main)
            left, right = min(x for y, x in main), max(x for y, x in main)
            # 4. For each other cell of the object go through the cells of the main part.
            for single_row, single_column in cells:
                if (single_row, single_column) in main:
                    continue
                for y, x in main:
                    # 5. If the single cell is above the top, mirror the main cell's row at the top;
                    #    if it is below the bottom, at the bottom. Do the same with its column at
                    #    the left and the right end.
                    new_row = mirror(y, single_row, top, bottom)
                    new_column = mirror(x, single_column, left, right)
                    # 6. Give the mirrored cell the color of the single cell, if it is in the grid.
                    if 0 <= new_row < height and 0 <= new_column < width:
                        output[new_row][new_column] = grid[single_row][single_column]
    result = output
    return result
