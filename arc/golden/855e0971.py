def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The grid consists of solid bands of different colors. They are either all flat, one below
       the other, or all upright, side by side.
    3. In some bands there are single cells of another color, the dots. All dots have the same
       color, which is no band's color.
    4. In the output each dot has become a line that crosses its band from edge to edge, at right
       angles to the length of the band, and stays inside the band.
    Procedure:
    1. Try the colors, the rarest first, as the color of the dots, until this works: without the
       dots, either each row or each column has one color.
    2. If it is the columns, the bands are upright: swap rows and columns.
    3. Read the band color of each row: its color that is not the dots' color.
    4. From each dot go up and down, and color the cells as long as the band color is the same.
    5. If rows and columns were swapped, swap them back.
    """
    # 1. Try the colors, the rarest first, as the color of the dots, until this works: without the
    # dots, either each row or each column has one color.
    cells = [value for row in grid for value in row]
    columns = [list(column) for column in zip(*grid)]
    swapped = False
    for dot in sorted(set(cells), key=cells.count):
        if all(len(set(row) - {dot}) == 1 for row in grid):
            break
        if all(len(set(column) - {dot}) == 1 for column in columns):
            swapped = True
            break
    # 2. If it is the columns, the bands are upright: swap rows and columns.
    if swapped:
        grid = columns
    # 3. Read the band color of each row: its color that is not the dots' color.
    height = len(grid)
    width = len(grid[0])
    bands = []
    for row in grid:
        bands.append([value for value in row if value != dot][0])
    # 4. From each dot go up and down, and color the cells as long as the band color is the same.
    output = [list(row) for row in grid]
    for r in range(height):
        for c in range(width):
            if grid[r][c] != dot:
                continue
            for step in (-1, 1):
                place = r
                while 0 <= place < height and bands[place] == bands[r]:
                    output[place][c] = dot
                    place += step
    # 5. If rows and columns were swapped, swap them back.
    if swapped:
        output = [list(column) for column in zip(*output)]
    result = output
    return result
