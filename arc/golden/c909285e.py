def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input has lines of several colors that go over the whole grid and cross each other.
    2. One color comes only in a frame: the border of a rectangle, one cell thick.
    3. The frame has no gap, and it is at least 3 cells high and wide.
    4. The output is the rectangle: the frame with all that is inside.
    Procedure:
    1. Go through the colors, and find the smallest box that holds all cells of the color.
    2. The color is that of the frame if all cells on the border of the box have it, and no cell
       inside the box.
    3. Cut out this box.
    """
    colors = {cell for row in grid for cell in row}
    output = grid
    # 1. Go through the colors, and find the smallest box that holds all cells of the color.
    for color in colors:
        rows = [r for r, row in enumerate(grid) if color in row]
        columns = [c for c, column in enumerate(zip(*grid)) if color in column]
        box = [row[columns[0] : columns[-1] + 1] for row in grid[rows[0] : rows[-1] + 1]]
        # 2. The color is that of the frame if all cells on the border of the box have it, and no
        #    cell inside the box.
        border = set(box[0] + box[-1] + [row[0] for row in box] + [row[-1] for row in box])
        inside = {cell for row in box[1:-1] for cell in row[1:-1]}
        if border == {color} and inside and color not in inside:
            # 3. Cut out this box.
            output = box
    result = output
    return result
