def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input is a large square picture with a rectangle of 8 in it. There is no other 8.
    2. The output has the size of the rectangle.
    3. The picture is symmetric: top and bottom are mirror images, left and right too. The mirror
       lines are not exactly in the middle of the grid: a part of the picture is cut off.
    4. The picture is also symmetric in its diagonal: rows and columns can be swapped.
    5. The rectangle of 8 hides a part of the picture. The output is this part.
    Procedure:
    1. In a mirror image row r goes to row s - r, with the same sum s for all rows. Find s: try the
       sums that put the mirror line nearest to the middle of the grid first, and take the first
       one for which all pairs of rows agree. Cells of 8 agree with everything.
    2. Find the sum for the columns in the same way.
    3. For each hidden cell list its images: with and without mirrored row, with and without
       mirrored column, and all of these with row and column swapped.
    4. Take the color of an image that is in the grid and not 8.
    """
    size = len(grid)
    hidden = 8

    # 1. In a mirror image row r goes to row s - r, with the same sum s for all rows. Find s: try
    #    the sums that put the mirror line nearest to the middle of the grid first, and take the
    #    first one for which all pairs of rows agree. Cells of 8 agree with everything.
    def agree(first, second):
        return all(a == b or hidden in (a, b) for a, b in zip(first, second, strict=True))

    def mirror_sum(lines):
        for s in sorted(range(2 * size - 1), key=lambda s: abs(s - (size - 1))):
            pairs = [(i, s - i) for i in range(size) if 0 <= s - i < size]
            if all(agree(lines[i], lines[j]) for i, j in pairs):
                return s
        return size - 1

    row_sum = mirror_sum(grid)
    # 2. Find the sum for the columns in the same way.
    column_sum = mirror_sum([[row[c] for row in grid] for c in range(size)])
    rows = [r for r in range(size) if hidden in grid[r]]
    columns = [c for c in range(size) if hidden in [row[c] for row in grid]]
    output = []
    for r in rows:
        line = []
        for c in columns:
            # 3. For each hidden cell list its images: with and without mirrored row, with and
            #    without mirrored column, and all of these with row and column swapped.
            images = [(y, x) for y in (r, row_sum - r) for x in (c, column_sum - c)]
            images += [(x, y) for y, x in images]
            # 4. Take the color of an image that is in the grid and not 8.
            colors = [grid[y][x] for y, x in images if 0 <= y < size and 0 <= x < size]
            known = [color for color in colors if color != hidden]
            line.append(known[0] if known else hidden)
        output.append(line)
    result = output
    return result
