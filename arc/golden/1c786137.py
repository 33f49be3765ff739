def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output is smaller than the input.
    2. The input is full of cells of random colors.
    3. Somewhere in it is the outline of a rectangle, one cell thick and of one color.
    4. No other cell of the input has the color of the outline.
    5. The output is what is inside the outline.
    Procedure:
    1. For each color find the smallest rectangle around all cells of that color.
    2. Skip the color if that rectangle has no inside, which takes three rows and three columns.
    3. List the cells on the outline of that rectangle.
    4. If the cells of the color are exactly the cells on the outline, the rectangle is found:
       the output is its inside.
    """
    height = len(grid)
    width = len(grid[0])
    inside = grid
    for color in sorted({cell for row in grid for cell in row}):
        # 1. For each color find the smallest rectangle around all cells of that color.
        cells = {(r, c) for r in range(height) for c in range(width) if grid[r][c] == color}
        top, bottom = min(r for r, c in cells), max(r for r, c in cells)
        left, right = min(c for r, c in cells), max(c for r, c in cells)
        # 2. Skip the color if that rectangle has no inside, which takes three rows and three
        #    columns.
        if bottom - top < 2 or right - left < 2:
            continue
        # 3. List the cells on the outline of that rectangle.
        outline = set()
        for r in range(top, bottom + 1):
            for c in range(left, right + 1):
                if r in (top, bottom) or c in (left, right):
                    outline.add((r, c))
        # 4. If the cells of the color are exactly the cells on the outline, the rectangle is found:
        #    the output is its inside.
        if cells == outline:
            inside = [row[left + 1:right] for row in grid[top + 1:bottom]]
    result = inside
    return result
