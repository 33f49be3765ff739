def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The most common color is the background, and the input has two other colors.
    2. Four cells of one color are the corners of a rectangle.
    3. The cells of the other color form a drawing inside this rectangle; nothing lies outside.
    4. The output is the inner part of the rectangle, without the rows and columns of the corners.
    5. In the output the drawing has the color of the corners.
    Procedure:
    1. Find the background.
    2. Find the first and last row and the first and last column that hold another color.
    3. Read the color of the corner there.
    4. Cut out the part strictly between these rows and columns.
    5. Give each cell of it that is not background the color of the corner.
    """
    # 1. Find the background.
    height = len(grid)
    width = len(grid[0])
    cells = [value for row in grid for value in row]
    background = max(set(cells), key=cells.count)
    # 2. Find the first and last row and the first and last column that hold another color.
    rows = []
    columns = []
    for r in range(height):
        for c in range(width):
            if grid[r][c] != background:
                rows.append(r)
                columns.append(c)
    top, bottom = min(rows), max(rows)
    left, right = min(columns), max(columns)
    # 3. Read the color of the corner there.
    corner_color = grid[top][left]
    # 4. Cut out the part strictly between these rows and columns.
    output = [grid[r][left + 1:right] for r in range(top + 1, bottom)]
    # 5. Give each cell of it that is not background the color of the corner.
    for row in output:
        for c in range(len(row)):
            if row[c] != background:
                row[c] = corner_color
    result = output
    return result
