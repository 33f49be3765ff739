def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color.
    3. The other cells form a horizontal line and a vertical line, each of several cells. The two
       lines cross, and their common cell belongs to both, or else they do not touch.
    4. The colors of the horizontal line are repeated to the left and to the right, over the whole
       row.
    5. The colors of the vertical line are repeated up and down, over the whole column.
    Procedure:
    1. Find the background.
    2. In each column look for the vertical line: colored cells with a colored cell above or below.
    3. If there are some, repeat their colors over the whole column.
    4. In each row look for the horizontal line: colored cells with a colored cell on the left or
       right.
    5. If there are some, repeat their colors over the whole row.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)

    def repeat(line: list[int]) -> list[int]:
        pairs = [i for i in range(1, len(line)) if background not in line[i - 1 : i + 1]]
        if not pairs:
            return []
        start = pairs[0] - 1
        colors = line[start : pairs[-1] + 1]
        return [colors[(i - start) % len(colors)] for i in range(len(line))]

    output = [list(row) for row in grid]
    # 2. In each column look for the vertical line: colored cells with a colored cell above or
    #    below.
    for c in range(width):
        line = repeat([row[c] for row in grid])
        # 3. If there are some, repeat their colors over the whole column.
        if line:
            for r in range(height):
                output[r][c] = line[r]
    # 4. In each row look for the horizontal line: colored cells with a colored cell on the left or
    #    right.
    for r in range(height):
        line = repeat(grid[r])
        # 5. If there are some, repeat their colors over the whole row.
        if line:
            output[r] = line
    result = output
    return result
