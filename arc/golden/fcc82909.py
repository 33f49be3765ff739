def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color.
    3. The input has squares of 2x2 cells that do not touch each other side by side.
    4. Below each square there is a tail of color 3, two cells wide.
    5. The tail is as long as the number of different colors in the square.
    6. All cells of the input that are not background stay the same.
    Procedure:
    1. Find the background.
    2. Look for squares: 2x2 windows without background.
    3. Count the different colors of the square.
    4. Set the background cells below it to 3, in as many rows as there are colors.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    output = [list(row) for row in grid]
    # 2. Look for squares: 2x2 windows without background.
    for r in range(height - 1):
        for c in range(width - 1):
            window = grid[r][c : c + 2] + grid[r + 1][c : c + 2]
            if background in window:
                continue
            # 3. Count the different colors of the square.
            count = len(set(window))
            # 4. Set the background cells below it to 3, in as many rows as there are colors.
            for y in range(r + 2, min(r + 2 + count, height)):
                for x in (c, c + 1):
                    if grid[y][x] == background:
                        output[y][x] = 3
    result = output
    return result
