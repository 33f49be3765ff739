def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The most common color is the background, and there are some single cells of one other
       color, the dots.
    3. In the output each dot has been replaced by a drawing of 3x3 cells around it: its four
       corners have the dot's color, the four cells at the middle of its sides are 1, and its
       center, where the dot was, is background.
    4. What would lie outside the grid is left out.
    Procedure:
    1. Find the background.
    2. Remove each dot.
    3. For each dot of the input, in reading order, draw its color at its four diagonal neighbors,
       and 1 at its four neighbors by side.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [value for row in grid for value in row]
    background = max(set(cells), key=cells.count)
    # 2. Remove each dot.
    output = [[background] * width for _ in range(height)]
    # 3. For each dot of the input, in reading order, draw its color at its four diagonal
    # neighbors, and 1 at its four neighbors by side.
    for row in range(height):
        for column in range(width):
            if grid[row][column] == background:
                continue
            for r in range(max(row - 1, 0), min(row + 2, height)):
                for c in range(max(column - 1, 0), min(column + 2, width)):
                    distance = abs(r - row) + abs(c - column)
                    if distance == 2:
                        output[r][c] = grid[row][column]
                    if distance == 1:
                        output[r][c] = 1
    result = output
    return result
