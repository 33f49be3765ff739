def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The most common color is the background.
    3. Two cells are not background: one has the color 4, the other one another color.
    4. The 4 does not move. The other cell moves one step towards it: straight if both are in the
       same row or column, and else diagonally.
    5. There is always room for this step between the two cells.
    Procedure:
    1. Find the background, the 4 and the other cell.
    2. Find the step: the row changes by 1 towards the row of the 4, or not at all if the rows are
       equal; the same holds for the column.
    3. Remove the other cell, and draw it one step further.
    """
    # 1. Find the background, the 4 and the other cell.
    cells = [value for row in grid for value in row]
    background = max(set(cells), key=cells.count)
    for r in range(len(grid)):
        for c in range(len(grid[0])):
            if grid[r][c] == 4:
                target = (r, c)
            elif grid[r][c] != background:
                place = (r, c)
    # 2. Find the step: the row changes by 1 towards the row of the 4, or not at all if the rows
    # are equal; the same holds for the column.
    row_step = (target[0] > place[0]) - (target[0] < place[0])
    column_step = (target[1] > place[1]) - (target[1] < place[1])
    # 3. Remove the other cell, and draw it one step further.
    output = [list(row) for row in grid]
    output[place[0]][place[1]] = background
    output[place[0] + row_step][place[1] + column_step] = grid[place[0]][place[1]]
    result = output
    return result
