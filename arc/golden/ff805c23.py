def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input is a drawing that is its own mirror image, both from left to right and from top
       to bottom; the mirror lines are the middle lines of the grid.
    2. One solid rectangle of a single color hides a part of the drawing. Its color occurs nowhere
       else.
    3. The output has the size of this rectangle.
    4. It shows the part of the drawing that is hidden there.
    Procedure:
    1. Find the mask: the color whose cells just fill the rectangle around them, while all other
       cells are equal to their mirror cells, unless these are masked.
    2. For each masked cell, look at its mirror cell from left to right, the one from top to
       bottom, and the one of both together.
    3. Take the color of the first of these that is not masked.
    """
    height = len(grid)
    width = len(grid[0])
    def mirror_cells(r, c):
        other_r = height - 1 - r
        other_c = width - 1 - c
        return [(r, other_c), (other_r, c), (other_r, other_c)]
    # 1. Find the mask: the color whose cells just fill the rectangle around them, while all other
    # cells are equal to their mirror cells, unless these are masked.
    cells = [value for row in grid for value in row]
    for color in sorted(set(cells), key=cells.count):
        places = [(r, c) for r in range(height) for c in range(width) if grid[r][c] == color]
        top = min(r for r, c in places)
        bottom = max(r for r, c in places)
        left = min(c for r, c in places)
        right = max(c for r, c in places)
        is_mask = len(places) == (bottom - top + 1) * (right - left + 1)
        for r in range(height):
            for c in range(width):
                for other_r, other_c in mirror_cells(r, c):
                    pair = {grid[r][c], grid[other_r][other_c]}
                    if len(pair) == 2 and color not in pair:
                        is_mask = False
        if is_mask:
            break
    # 2. For each masked cell, look at its mirror cell from left to right, the one from top to
    # bottom, and the one of both together.
    output = []
    for r in range(top, bottom + 1):
        row = []
        for c in range(left, right + 1):
            seen = [grid[other_r][other_c] for other_r, other_c in mirror_cells(r, c)]
            # 3. Take the color of the first of these that is not masked.
            visible = [value for value in seen if value != color] + [color]
            row.append(visible[0])
        output.append(row)
    result = output
    return result
