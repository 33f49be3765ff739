def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is the most common color.
    2. The input has single cells of some colors. They all stay in the output.
    3. Each cell of 2 gets four new cells of 4 at its corners.
    4. Each cell of 1 gets four new cells of 7 at its sides: above, below, left and right.
    5. Cells of other colors get nothing.
    Procedure:
    1. Go through the cells of 1 and 2.
    2. For a cell of 2 the places are its four diagonal neighbors and the new color is 4.
    3. For a cell of 1 the places are its four neighbors at the sides and the new color is 7.
    4. Color the places that are in the grid.
    """
    height = len(grid)
    width = len(grid[0])
    output = [list(row) for row in grid]
    # 1. Go through the cells of 1 and 2.
    for r in range(height):
        for c in range(width):
            places = []
            # 2. For a cell of 2 the places are its four diagonal neighbors and the new color is 4.
            if grid[r][c] == 2:
                places = [(r - 1, c - 1), (r - 1, c + 1), (r + 1, c - 1), (r + 1, c + 1)]
                color = 4
            # 3. For a cell of 1 the places are its four neighbors at the sides and the new color
            #    is 7.
            if grid[r][c] == 1:
                places = [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]
                color = 7
            # 4. Color the places that are in the grid.
            for y, x in places:
                if 0 <= y < height and 0 <= x < width:
                    output[y][x] = color
    result = output
    return result
