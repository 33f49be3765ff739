def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The most common color is the background.
    3. The objects are cups of five cells of one color: they fill a rectangle of 2 by 3 cells, but
       for the middle cell of a long side, the opening, which is background.
    4. In the output each cup has dropped a cell of color 4 out of its opening: it lies at the
       border of the grid, straight ahead from the opening.
    5. The cups are kept.
    Procedure:
    1. Find the background.
    2. For each background cell, look at its four neighbors. The cell is an opening if three of
       them have one same color other than the background, and so have the two diagonal neighbors
       on the side opposite to the fourth neighbor.
    3. Go from the opening in the direction of the fourth neighbor up to the border of the grid,
       and color the last cell with 4.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [value for row in grid for value in row]
    background = max(set(cells), key=cells.count)
    def color_at(r, c):
        if 0 <= r < height and 0 <= c < width:
            return grid[r][c]
        return background
    output = [list(row) for row in grid]
    for row in range(height):
        for column in range(width):
            if grid[row][column] != background:
                continue
            # 2. For each background cell, look at its four neighbors. The cell is an opening if
            # three of them have one same color other than the background, and so have the two
            # diagonal neighbors on the side opposite to the fourth neighbor.
            for dr, dc in [(-1, 0), (1, 0), (0, -1), (0, 1)]:
                back = color_at(row - dr, column - dc)
                cup = [color_at(row + dc, column + dr), color_at(row - dc, column - dr)]
                cup.append(color_at(row - dr + dc, column - dc + dr))
                cup.append(color_at(row - dr - dc, column - dc - dr))
                front = color_at(row + dr, column + dc)
                if back == background or cup != [back] * 4 or front == back:
                    continue
                # 3. Go from the opening in the direction of the fourth neighbor up to the border
                # of the grid, and color the last cell with 4.
                r = row
                c = column
                while 0 <= r + dr < height and 0 <= c + dc < width:
                    r += dr
                    c += dc
                output[r][c] = 4
    result = output
    return result
