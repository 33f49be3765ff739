def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input has a frame: the second row and column and the last but one row and column have one
       color.
    2. The four corner cells of the grid have four colors.
    3. The background is the color of the border of the grid between the corners and the frame.
       Inside the frame there are cells of another color on it.
    4. The output is as large as the inside of the frame.
    5. It is divided into four quarters. In each quarter the colored cells get the color of the
       nearest corner of the grid.
    Procedure:
    1. Cut out the inside of the frame.
    2. Go through its cells. Background stays as it is.
    3. Else look whether the cell is in the top half or the bottom half, and in the left half or
       the right half.
    4. Give it the color of this corner of the grid.
    """
    # 1. Cut out the inside of the frame.
    inside = [row[2:-2] for row in grid[2:-2]]
    height = len(inside)
    width = len(inside[0])
    background = grid[0][2]
    output = []
    # 2. Go through its cells. Background stays as it is.
    for r in range(height):
        row = []
        for c in range(width):
            if inside[r][c] == background:
                row.append(background)
                continue
            # 3. Else look whether the cell is in the top half or the bottom half, and in the left
            #    half or the right half.
            corner_row = 0 if r < height // 2 else -1
            corner_column = 0 if c < width // 2 else -1
            # 4. Give it the color of this corner of the grid.
            row.append(grid[corner_row][corner_column])
        output.append(row)
    result = output
    return result
