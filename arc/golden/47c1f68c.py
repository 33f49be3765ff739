def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input has an odd number of rows and of columns.
    2. The middle row and the middle column are lines of one color, which form a cross.
    3. The background is the most common color besides the color of the lines.
    4. The cross divides the grid into four quarters; one of them has a shape.
    5. The output has no cross, so it is one row and one column smaller.
    6. The output has the shape in all four quarters, mirrored at both lines of the cross.
    7. In the output the shape has the color of the lines.
    Procedure:
    1. Take the color of the lines from the center.
    2. Find the background: the most common color besides that one.
    3. Leave out the middle row and the middle column.
    4. For each cell of what is left, take the cells mirrored left and right, up and down, and both.
    5. If one of the four is not background, give the cell the color of the lines, else background.
    """
    half_height = len(grid) // 2
    half_width = len(grid[0]) // 2
    # 1. Take the color of the lines from the center.
    color = grid[half_height][half_width]
    # 2. Find the background: the most common color besides that one.
    others = [cell for row in grid for cell in row if cell != color]
    background = max(set(others), key=others.count)
    # 3. Leave out the middle row and the middle column.
    rows = grid[:half_height] + grid[half_height + 1:]
    quarters = [row[:half_width] + row[half_width + 1:] for row in rows]
    # 4. For each cell of what is left, take the cells mirrored left and right, up and down, and
    #    both.
    height = len(quarters)
    width = len(quarters[0])
    output = [[background] * width for _ in range(height)]
    for r in range(height):
        for c in range(width):
            for y in (r, height - 1 - r):
                for x in (c, width - 1 - c):
                    # 5. If one of the four is not background, give the cell the color of the lines,
                    #    else background.
                    if quarters[y][x] != background:
                        output[r][c] = color
    result = output
    return result
