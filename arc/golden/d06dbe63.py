def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color.
    3. The input has one cell of another color, or several. They stay the same.
    4. A staircase of color 5 goes from each of these cells up to the right, and another one goes
       down to the left.
    5. Each stair is one cell up, then one more cell up and from there two cells to the right.
    6. The staircase down is the same, turned by 180 degrees: down and to the left.
    7. Cells outside the grid are left out.
    Procedure:
    1. Find the background and the colored cells.
    2. Start from each of them, once going up and right, once going down and left.
    3. Go one row on and color the cell with 5.
    4. Go one more row on, and color this cell and the next two cells with 5: to the right when
       going up, to the left when going down.
    5. Go on from the last of them until the rows end.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background and the colored cells.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    marked = [i for i, cell in enumerate(cells) if cell != background]
    output = [list(row) for row in grid]
    for i in marked:
        # 2. Start from each of them, once going up and right, once going down and left.
        for dr, dc in ((-1, 1), (1, -1)):
            r, c = i // width, i % width
            while 0 <= r < height:
                # 3. Go one row on and color the cell with 5.
                # 4. Go one more row on, and color this cell and the next two cells with 5: to the
                #    right when going up, to the left when going down.
                stair = [(r + dr, c)] + [(r + 2 * dr, c + n * dc) for n in range(3)]
                for y, x in stair:
                    if 0 <= y < height and 0 <= x < width and grid[y][x] == background:
                        output[y][x] = 5
                # 5. Go on from the last of them until the rows end.
                r, c = stair[-1]
    result = output
    return result
