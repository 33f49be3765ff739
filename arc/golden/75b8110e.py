def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output is half as high and half as wide as the input.
    2. The input consists of four quarters. They share the background color, and each has one color
       of its own.
    3. The output is the four quarters laid on top of each other: the background of a quarter is
       transparent.
    4. Where several quarters have their own color, the top right one wins, then the bottom left
       one, then the bottom right one. The top left one shows only where the others have background.
    Procedure:
    1. Cut the input into its four quarters.
    2. Order them: top right, bottom left, bottom right, top left.
    3. The own color of a quarter is the one that is not in all the other quarters.
    4. For each place take the first quarter in this order that has its own color there. If none
       has, take the background.
    """
    height = len(grid) // 2
    width = len(grid[0]) // 2
    # 1. Cut the input into its four quarters.
    top_left = [row[:width] for row in grid[:height]]
    top_right = [row[width:] for row in grid[:height]]
    bottom_left = [row[:width] for row in grid[height:]]
    bottom_right = [row[width:] for row in grid[height:]]
    # 2. Order them: top right, bottom left, bottom right, top left.
    layers = [top_right, bottom_left, bottom_right, top_left]
    # 3. The own color of a quarter is the one that is not in all the other quarters.
    shared = {cell for row in grid for cell in row}
    for layer in layers:
        shared &= {cell for row in layer for cell in row}
    # 4. For each place take the first quarter in this order that has its own color there. If none
    #    has, take the background.
    output = []
    for r in range(height):
        row = []
        for c in range(width):
            colors = [layer[r][c] for layer in layers]
            own = [color for color in colors if color not in shared]
            row.append(own[0] if own else colors[0])
        output.append(row)
    result = output
    return result
