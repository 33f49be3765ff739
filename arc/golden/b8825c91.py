def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The picture is symmetric: its left half mirrors its right half, and its top half mirrors its
       bottom half.
    3. Some rectangles of color 4 cover a part of the picture. The picture itself has no 4.
    4. Of a covered cell, at least one mirror image is not covered.
    5. The output is the picture without the rectangles.
    Procedure:
    1. Copy the input.
    2. Go through the cells of color 4.
    3. Look at its three mirror images: left to right, upside down, and both.
    4. Give the cell the color of a mirror image that is not 4.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Copy the input.
    output = [list(row) for row in grid]
    # 2. Go through the cells of color 4.
    for r in range(height):
        for c in range(width):
            if grid[r][c] != 4:
                continue
            # 3. Look at its three mirror images: left to right, upside down, and both.
            for y in (r, height - 1 - r):
                for x in (c, width - 1 - c):
                    # 4. Give the cell the color of a mirror image that is not 4.
                    if grid[y][x] != 4:
                        output[r][c] = grid[y][x]
    result = output
    return result
