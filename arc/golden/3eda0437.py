def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The input has many cells of 0 and many colored cells, at random.
    3. In the output a rectangle of 0 has become 6.
    4. It is the largest rectangle, by number of cells, that has only 0 and is at least 2 cells high
       and wide. If several are equally large, all of them become 6.
    Procedure:
    1. Go through all pairs of a first row and a last row.
    2. Find the columns that have only 0 from the first to the last row.
    3. Find runs of such columns side by side. Each run, with these rows, is a rectangle of 0.
    4. Remember the rectangles with the most cells that are at least 2 cells high and wide.
    5. Fill them with 6.
    """
    height = len(grid)
    width = len(grid[0])
    largest = 0
    best = []
    # 1. Go through all pairs of a first row and a last row.
    for top in range(height):
        empty = [True] * width
        for bottom in range(top, height):
            # 2. Find the columns that have only 0 from the first to the last row.
            empty = [empty[c] and grid[bottom][c] == 0 for c in range(width)]
            # 3. Find runs of such columns side by side. Each run, with these rows, is a rectangle
            #    of 0.
            run = 0
            for c in range(width):
                run = run + 1 if empty[c] else 0
                size = run * (bottom - top + 1)
                # 4. Remember the rectangles with the most cells that are at least 2 cells high
                #    and wide.
                if run >= 2 and bottom > top and size >= largest:
                    if size > largest:
                        best = []
                    largest = size
                    best.append((top, bottom + 1, c + 1 - run, c + 1))
    # 5. Fill them with 6.
    output = [list(row) for row in grid]
    for top, bottom, left, right in best:
        for r in range(top, bottom):
            for c in range(left, right):
                output[r][c] = 6
    result = output
    return result
