def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is the most common color.
    2. The input has single cells. Each color occurs twice.
    3. The two cells of a color lie on a common diagonal.
    4. In the output they are joined by a diagonal line of this color.
    Procedure:
    1. Find the background: the most common color.
    2. For each other color find its two cells, the upper one first.
    3. The direction is right if the lower cell is to the right of the upper one, else left.
    4. From the upper cell go one row down and one column in this direction until the lower cell,
       and color the cells.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)
    output = [list(row) for row in grid]
    for color in sorted(set(cells) - {background}):
        # 2. For each other color find its two cells, the upper one first.
        places = [(r, c) for r in range(height) for c in range(width) if grid[r][c] == color]
        upper_r, upper_c = places[0]
        lower_r, lower_c = places[-1]
        # 3. The direction is right if the lower cell is to the right of the upper one, else left.
        direction = 1 if lower_c > upper_c else -1
        # 4. From the upper cell go one row down and one column in this direction until the lower
        #    cell, and color the cells.
        for step in range(lower_r - upper_r):
            output[upper_r + step][upper_c + step * direction] = color
    result = output
    return result
