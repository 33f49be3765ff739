def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color.
    3. Each other color comes in two single cells.
    4. The two cells are opposite corners of a rectangle.
    5. The output has these rectangles, filled with their color. They do not overlap.
    Procedure:
    1. Find the background, and list the other colors.
    2. Find the rows and the columns of the two cells of each color.
    3. Fill all cells from the first to the last of these rows and columns.
    """
    # 1. Find the background, and list the other colors.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    colors = set(cells) - {background}
    output = [list(row) for row in grid]
    for color in colors:
        # 2. Find the rows and the columns of the two cells of each color.
        rows = [r for r, row in enumerate(grid) if color in row]
        columns = [c for c, column in enumerate(zip(*grid)) if color in column]
        # 3. Fill all cells from the first to the last of these rows and columns.
        for r in range(rows[0], rows[-1] + 1):
            for c in range(columns[0], columns[-1] + 1):
                output[r][c] = color
    result = output
    return result
