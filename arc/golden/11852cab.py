def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is the most common color.
    2. There are one or more patterns of colored cells with background between. Each fits exactly
       into a square of 5 rows and 5 columns. Between two patterns there are at least two empty rows
       or two empty columns.
    3. A pattern is not complete. In the output it is complete and has more cells.
    4. The complete pattern is symmetric in all ways a square can be: left and right, top and bottom
       and both diagonals are mirror lines.
    Procedure:
    1. Find the background: the most common color.
    2. Find the patterns: colored cells that are at most two rows and two columns apart from another
       cell of the pattern belong together.
    3. Find the first row and the first column of the pattern, and the last row counted from there.
    4. For each cell count its row and its column from the first ones. Its images are: row or
       mirrored row with column or mirrored column, and the same with row and column swapped.
       Mirrored means: the last number minus the number.
    5. Color all its images with its color.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    all_cells = [cell for row in grid for cell in row]
    background = max(set(all_cells), key=all_cells.count)
    # 2. Find the patterns: colored cells that are at most two rows and two columns apart from
    #    another cell of the pattern belong together.
    positions = [(r, c) for r in range(height) for c in range(width)]
    left_over = {(r, c) for r, c in positions if grid[r][c] != background}
    output = [list(row) for row in grid]
    while left_over:
        cells = []
        stack = [min(left_over)]
        while stack:
            r, c = stack.pop()
            if (r, c) in left_over:
                left_over.remove((r, c))
                cells.append((r, c))
                stack += [(y, x) for y in range(r - 2, r + 3) for x in range(c - 2, c + 3)]
        # 3. Find the first row and the first column of the pattern, and the last row counted from
        #    there.
        top = min(r for r, c in cells)
        left = min(c for r, c in cells)
        last = max(r for r, c in cells) - top
        # 4. For each cell count its row and its column from the first ones. Its images are: row or
        #    mirrored row with column or mirrored column, and the same with row and column
        #    swapped. Mirrored means: the last number minus the number.
        for r, c in cells:
            y = r - top
            x = c - left
            images = [(a, b) for a in (y, last - y) for b in (x, last - x)]
            images += [(b, a) for a, b in images]
            # 5. Color all its images with its color.
            for a, b in images:
                if 0 <= top + a < height and 0 <= left + b < width:
                    output[top + a][left + b] = grid[r][c]
    result = output
    return result
