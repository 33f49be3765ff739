def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The most common color is the background.
    3. There is one solid rectangle of one color, the block; it is the largest thing on the
       background.
    4. Some single cells of other colors, the dots, lie around it. Each dot is in a row or in a
       column of the block.
    5. In the output each dot has painted with its color the cell of the block that it would meet
       first when it moved straight towards it. No two dots meet the same cell. The dots
       themselves stay where they are.
    Procedure:
    1. Find the background.
    2. The block has the most common of the other colors. Find its first and last row and its
       first and last column.
    3. For each dot, take the nearest row and the nearest column of the block.
    4. Color the cell of the block in this row and column with the color of the dot.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [value for row in grid for value in row]
    background = max(set(cells), key=cells.count)
    # 2. The block has the most common of the other colors. Find its first and last row and its
    # first and last column.
    block = max(set(cells) - {background}, key=cells.count)
    places = [(r, c) for r in range(height) for c in range(width) if grid[r][c] == block]
    top = min(r for r, c in places)
    bottom = max(r for r, c in places)
    left = min(c for r, c in places)
    right = max(c for r, c in places)
    output = [list(row) for row in grid]
    for r in range(height):
        for c in range(width):
            if grid[r][c] in (background, block):
                continue
            # 3. For each dot, take the nearest row and the nearest column of the block.
            row = min(max(r, top), bottom)
            column = min(max(c, left), right)
            # 4. Color the cell of the block in this row and column with the color of the dot.
            output[row][column] = grid[r][c]
    result = output
    return result
