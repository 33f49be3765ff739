def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color. There are a shape of one color and a 2x2 block of
       another color.
    3. The shape stays, and its mirror images are added.
    4. The mirror lines go through the center of the 2x2 block: left and right are swapped, top
       and bottom are swapped, and both.
    5. All the mirror images fit into the grid.
    Procedure:
    1. Find the background: the most common color.
    2. Find the block: a color with four cells that form a 2x2 square.
    3. For each cell of the shape compute the mirrored row and the mirrored column: top plus bottom
       row of the block minus the row, and left plus right column of the block minus the column.
    4. Color all four combinations: the row or the mirrored row with the column or the mirrored
       column.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)
    # 2. Find the block: a color with four cells that form a 2x2 square.
    block = []
    for r in range(height - 1):
        for c in range(width - 1):
            square = [grid[r][c], grid[r][c + 1], grid[r + 1][c], grid[r + 1][c + 1]]
            if len(set(square)) == 1 and cells.count(grid[r][c]) == 4:
                block = [(r, c), (r + 1, c + 1)]
    top, left = block[0]
    bottom, right = block[1]
    output = [list(row) for row in grid]
    for r in range(height):
        for c in range(width):
            if grid[r][c] in (background, grid[top][left]):
                continue
            # 3. For each cell of the shape compute the mirrored row and the mirrored column: top
            #    plus bottom row of the block minus the row, and left plus right column of the
            #    block minus the column.
            mirrored_r = top + bottom - r
            mirrored_c = left + right - c
            # 4. Color all four combinations: the row or the mirrored row with the column or the
            #    mirrored column.
            for y in (r, mirrored_r):
                for x in (c, mirrored_c):
                    if 0 <= y < height and 0 <= x < width:
                        output[y][x] = grid[r][c]
    result = output
    return result
