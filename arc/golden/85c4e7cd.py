def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The input is made of rings of one color each, one inside the other and one cell thick.
    3. The output has the same rings, but their colors come in reversed order.
    4. So the outermost ring gets the color of the innermost ring, and the other way around.
    5. The number of the ring of a cell is its distance to the nearest border of the grid.
    Procedure:
    1. Count the rings: half of the shorter side, rounded up.
    2. Read the colors of the rings along the diagonal from the top left corner to the middle.
    3. Reverse the list of colors.
    4. Go through the cells and find the distance to the nearest border.
    5. Give the cell the color of the reversed list that has this number.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Count the rings: half of the shorter side, rounded up.
    count = (min(height, width) + 1) // 2
    # 2. Read the colors of the rings along the diagonal from the top left corner to the middle.
    colors = [grid[i][i] for i in range(count)]
    # 3. Reverse the list of colors.
    colors.reverse()
    output = []
    # 4. Go through the cells and find the distance to the nearest border.
    for r in range(height):
        row = []
        for c in range(width):
            distance = min(r, c, height - 1 - r, width - 1 - c)
            # 5. Give the cell the color of the reversed list that has this number.
            row.append(colors[distance])
        output.append(row)
    result = output
    return result
