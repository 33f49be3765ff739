def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The most common color is the background.
    3. There are some single cells of other colors, each one in a row of its own.
    4. In the output a line starts at each of them and runs to the right border of the grid.
    5. In this line the color of the cell and the color 5 take turns, beginning with the cell's
       own color.
    Procedure:
    1. Find the background.
    2. In each row, find the cell that is not background.
    3. Go from this cell to the right: at an even distance write its color, at an odd distance 5.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [value for row in grid for value in row]
    background = max(set(cells), key=cells.count)
    output = [list(row) for row in grid]
    for r in range(height):
        # 2. In each row, find the cell that is not background.
        for start in range(width):
            color = grid[r][start]
            if color == background:
                continue
            # 3. Go from this cell to the right: at an even distance write its color, at an odd
            # distance 5.
            for c in range(start, width):
                if (c - start) % 2 == 0:
                    output[r][c] = color
                else:
                    output[r][c] = 5
            break
    result = output
    return result
