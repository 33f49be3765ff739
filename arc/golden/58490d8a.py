def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output is smaller than the input.
    2. The input has a black rectangle, the list: a rectangle of 0 with some single colored cells,
       all in its second column and in different rows. Outside of it there is no 0.
    3. Outside of the list, on a background of another color, there are objects. Each has one color,
       and its cells touch by sides or corners.
    4. The output has the size of the list.
    5. Each colored cell of the list is repeated in its row, with one cell of 0 between. The number
       of cells is the number of objects of this color outside of the list.
    Procedure:
    1. Find the list: the first and last row and column with 0.
    2. Find the objects outside of the list: cells of one color, not the background, that touch by
       sides or corners. The background is the most common color outside.
    3. Count the objects of each color.
    4. Start with an empty rectangle of 0 of the size of the list.
    5. For each colored cell of the list put as many cells into its row as there are objects of this
       color: the first one at the place of the cell, each next one two columns to the right.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the list: the first and last row and column with 0.
    zeros = [(r, c) for r in range(height) for c in range(width) if grid[r][c] == 0]
    top = min(r for r, c in zeros)
    bottom = max(r for r, c in zeros)
    left = min(c for r, c in zeros)
    right = max(c for r, c in zeros)
    # 2. Find the objects outside of the list: cells of one color, not the background, that touch by
    #    sides or corners. The background is the most common color outside.
    outside = []
    for r in range(height):
        for c in range(width):
            if not (top <= r <= bottom and left <= c <= right):
                outside.append((r, c))
    colors = [grid[r][c] for r, c in outside]
    background = max(set(colors), key=colors.count)
    left_over = {(r, c) for r, c in outside if grid[r][c] != background}
    # 3. Count the objects of each color.
    counts = {}
    while left_over:
        start = min(left_over)
        color = grid[start[0]][start[1]]
        counts[color] = counts.get(color, 0) + 1
        stack = [start]
        while stack:
            r, c = stack.pop()
            if (r, c) in left_over and grid[r][c] == color:
                left_over.remove((r, c))
                stack += [(y, x) for y in (r - 1, r, r + 1) for x in (c - 1, c, c + 1)]
    # 4. Start with an empty rectangle of 0 of the size of the list.
    output = [[0] * (right - left + 1) for r in range(top, bottom + 1)]
    # 5. For each colored cell of the list put as many cells into its row as there are objects of
    #    this color: the first one at the place of the cell, each next one two columns to the right.
    for r in range(top, bottom + 1):
        for c in range(left, right + 1):
            if grid[r][c] != 0:
                for number in range(counts.get(grid[r][c], 0)):
                    if c + 2 * number <= right:
                        output[r - top][c - left + 2 * number] = grid[r][c]
    result = output
    return result
