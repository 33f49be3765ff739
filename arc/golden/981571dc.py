def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The output is a rich pattern of many colors, without any 0.
    3. In the input some rectangles of the pattern are hidden: their cells are 0.
    4. The pattern is its own mirror image at an upright line and at a flat line. Both lines lie
       near the middle of the grid, but need not be exactly there, so that some rows and columns
       at the border have no mirror image inside the grid.
    5. A cell and its mirror cell have the same color, unless one of them is hidden. For each hidden
       cell at least one mirror cell (at one of the lines or at both) is visible.
    Procedure:
    1. For the upright line, try each sum of the column numbers of a cell and its mirror cell. A sum
       fits if all pairs of visible mirror cells are equal.
    2. Of the sums that fit, take the one with the most pairs of visible cells.
    3. Do the same for the flat line and the sum of the row numbers.
    4. For each hidden cell, look at its mirror cell at the upright line, the one at the flat line,
       and the one at both lines.
    5. Give it the color of the first of these that is inside the grid and not hidden.
    """
    height = len(grid)
    width = len(grid[0])
    def best_sum(rows):
        length = len(rows[0])
        best = length - 1
        most = -1
        for total in range(2 * length - 1):
            # 1. For the upright line, try each sum of the column numbers of a cell and its mirror
            # cell. A sum fits if all pairs of visible mirror cells are equal.
            pairs = 0
            fits = True
            for row in rows:
                for c in range(max(0, total - length + 1), (total + 1) // 2):
                    if row[c] != 0 and row[total - c] != 0:
                        pairs += 1
                        if row[c] != row[total - c]:
                            fits = False
            # 2. Of the sums that fit, take the one with the most pairs of visible cells.
            if fits and pairs > most:
                most = pairs
                best = total
        return best
    column_sum = best_sum(grid)
    # 3. Do the same for the flat line and the sum of the row numbers.
    row_sum = best_sum([list(column) for column in zip(*grid)])
    output = [list(row) for row in grid]
    for r in range(height):
        for c in range(width):
            if grid[r][c] != 0:
                continue
            # 4. For each hidden cell, look at its mirror cell at the upright line, the one at the
            # flat line, and the one at both lines.
            other_r = row_sum - r
            other_c = column_sum - c
            visible = []
            for nr, nc in [(r, other_c), (other_r, c), (other_r, other_c)]:
                if 0 <= nr < height and 0 <= nc < width and grid[nr][nc] != 0:
                    visible.append(grid[nr][nc])
            # 5. Give it the color of the first of these that is inside the grid and not hidden.
            if visible:
                output[r][c] = visible[0]
    result = output
    return result
