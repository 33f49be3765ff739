def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output is smaller than the input and has only one color.
    2. The most common color of the input is the background. On it there are rectangles, each of
       another color.
    3. Some rectangles cover a part of others. Of these others a cut shape is left.
    4. The output is the smallest rectangle that is complete, so that no other one covers it.
    Procedure:
    1. Find the background: the most common color.
    2. For each other color find the first and last row, and the first and last column that have
       it, and cut out this part of the grid.
    3. Keep the parts that have only one color: these are the complete rectangles.
    4. Take the one with the fewest cells.
    """
    # 1. Find the background: the most common color.
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)
    complete = []
    for color in sorted(set(cells) - {background}):
        # 2. For each other color find the first and last row, and the first and last column that
        #    have it, and cut out this part of the grid.
        rows = [r for r in range(len(grid)) if color in grid[r]]
        columns = [c for c in range(len(grid[0])) if color in [row[c] for row in grid]]
        part = [row[columns[0] : columns[-1] + 1] for row in grid[rows[0] : rows[-1] + 1]]
        # 3. Keep the parts that have only one color: these are the complete rectangles.
        if len({cell for row in part for cell in row}) == 1:
            complete.append(part)
    # 4. Take the one with the fewest cells.
    smallest = min(complete, key=lambda part: len(part) * len(part[0]))
    result = smallest
    return result
