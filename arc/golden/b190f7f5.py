def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input is made of two halves of the same size, side by side or one above the other.
    2. One half has two colors, the background and one more: it is a shape.
    3. The other half has the background and some other colors: it is a map.
    4. The background is the only color that both halves have.
    5. The output has one block for each cell of the map, and each block is as large as the shape.
    6. The block shows the shape in the color of the cell of the map. If this cell is background,
       the block is all background.
    Procedure:
    1. Cut the grid into a left and a right half, or into a top and a bottom half. Take the halves
       that have only one color in common: the background.
    2. The half with only one other color is the shape, the other one is the map.
    3. Make an output of background with one block for each cell of the map.
    4. Draw the shape into each block, in the color of the cell of the map.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Cut the grid into a left and a right half, or into a top and a bottom half. Take the
    #    halves that have only one color in common: the background.
    cuts = []
    if width % 2 == 0:
        cuts.append(([row[: width // 2] for row in grid], [row[width // 2 :] for row in grid]))
    if height % 2 == 0:
        cuts.append((grid[: height // 2], grid[height // 2 :]))
    shape = color_map = grid
    background = grid[0][0]
    for first, second in cuts:
        first_colors = {cell for row in first for cell in row}
        second_colors = {cell for row in second for cell in row}
        common = first_colors & second_colors
        # 2. The half with only one other color is the shape, the other one is the map.
        if len(common) == 1 and 2 in (len(first_colors), len(second_colors)):
            background = min(common)
            shape, color_map = first, second
            if len(second_colors) == 2:
                shape, color_map = second, first
    # 3. Make an output of background with one block for each cell of the map.
    rows = len(shape)
    columns = len(shape[0])
    output = [[background] * (columns * columns) for _ in range(rows * rows)]
    # 4. Draw the shape into each block, in the color of the cell of the map.
    for r in range(rows * rows):
        for c in range(columns * columns):
            if shape[r % rows][c % columns] != background:
                output[r][c] = color_map[r // rows][c // columns]
    result = output
    return result
