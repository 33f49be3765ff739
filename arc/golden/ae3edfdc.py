def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The most common color is the background.
    3. There is at most one cell of color 1 and one cell of color 2: the centers.
    4. All other cells that are not background are 7 or 3. The 7s belong to the 1, the 3s to the 2.
    5. Each of them can see its center: it lies in the same row, column or diagonal line.
    6. In the output each of them has moved straight to its center, and touches it.
    Procedure:
    1. Find the background.
    2. Keep the centers, and remove all other cells.
    3. For each removed cell, find the direction from its center towards it: the signs of the
       differences of their rows and of their columns.
    4. Draw it next to its center in this direction.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [value for row in grid for value in row]
    background = max(set(cells), key=cells.count)
    # 2. Keep the centers, and remove all other cells.
    output = [[background] * width for _ in range(height)]
    center_of = {7: 1, 3: 2}
    places = {}
    for r in range(height):
        for c in range(width):
            if grid[r][c] in (1, 2) and grid[r][c] != background:
                output[r][c] = grid[r][c]
                places[grid[r][c]] = (r, c)
    for r in range(height):
        for c in range(width):
            color = grid[r][c]
            if color == background or center_of.get(color) not in places:
                continue
            # 3. For each removed cell, find the direction from its center towards it: the signs
            # of the differences of their rows and of their columns.
            row, column = places[center_of[color]]
            dr = (r > row) - (r < row)
            dc = (c > column) - (c < column)
            # 4. Draw it next to its center in this direction.
            output[row + dr][column + dc] = color
    result = output
    return result
