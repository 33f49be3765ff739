def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The input has three colors; two of them are spread over the whole grid.
    3. The cells of the third color, the marker, are all in one small rectangular part of the grid
       and reach all four sides of it.
    4. In that part is only one color besides the marker; its cells become 3.
    5. All other cells stay as they are.
    Procedure:
    1. For each color find the smallest rectangle around all its cells, and the area of it.
    2. The marker is the color whose rectangle has the smallest area.
    3. Copy the input.
    4. In the marker's rectangle give color 3 to each cell that is not of the marker's color.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. For each color find the smallest rectangle around all its cells, and the area of it.
    rectangles = []
    for color in {cell for row in grid for cell in row}:
        rows = [r for r in range(height) if color in grid[r]]
        columns = [c for c in range(width) if color in [row[c] for row in grid]]
        top, bottom, left, right = rows[0], rows[-1], columns[0], columns[-1]
        area = (bottom - top + 1) * (right - left + 1)
        rectangles.append((area, color, top, bottom, left, right))
    # 2. The marker is the color whose rectangle has the smallest area.
    area, marker, top, bottom, left, right = min(rectangles)
    # 3. Copy the input.
    output = [row[:] for row in grid]
    # 4. In the marker's rectangle give color 3 to each cell that is not of the marker's color.
    for r in range(top, bottom + 1):
        for c in range(left, right + 1):
            if grid[r][c] != marker:
                output[r][c] = 3
    result = output
    return result
