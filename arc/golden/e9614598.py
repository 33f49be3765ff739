def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is the most common color.
    2. There are two single cells of one color. They are in the same row or in the same column.
    3. Both cells stay.
    4. The output also has a plus of 3: a middle cell and its four neighbors at the sides.
    5. The middle of the plus is exactly halfway between the two cells.
    Procedure:
    1. Find the background and the two cells.
    2. Add the rows of the two cells and divide by two. Do the same with the columns. This is the
       middle.
    3. Color the middle and the cells above, below, left and right of it with 3.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background and the two cells.
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)
    dots = [(r, c) for r in range(height) for c in range(width) if grid[r][c] != background]
    # 2. Add the rows of the two cells and divide by two. Do the same with the columns. This is the
    #    middle.
    r = (dots[0][0] + dots[-1][0]) // 2
    c = (dots[0][1] + dots[-1][1]) // 2
    # 3. Color the middle and the cells above, below, left and right of it with 3.
    output = [list(row) for row in grid]
    for y, x in ((r, c), (r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)):
        if 0 <= y < height and 0 <= x < width:
            output[y][x] = 3
    result = output
    return result
