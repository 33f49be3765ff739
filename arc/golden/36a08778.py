def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color.
    3. Short lines of color 6 start in the first row and go down: streams of water.
    4. There are bars of color 2. They stay the same.
    5. In the output each stream flows on straight down.
    6. Where a stream comes to a bar, it spreads in the row above the bar, to the left and to the
       right, up to the first cell that has no bar below, and flows down from there.
    7. Water does not flow into bars. It flows out at the border of the grid.
    Procedure:
    1. List all cells of color 6. The water flows on from each cell of the list.
    2. If there is no bar below the cell, the water flows to the cell below.
    3. If there is a bar below, the water goes to the left and to the right, cell by cell, as long
       as there is no bar in the way.
    4. It stops in the first cell that has no bar below.
    5. Color each new cell with 6 and add it to the list, if it was not there before.
    """
    height = len(grid)
    width = len(grid[0])
    output = [list(row) for row in grid]
    # 1. List all cells of color 6. The water flows on from each cell of the list.
    water = []
    for r in range(height):
        for c in range(width):
            if grid[r][c] == 6:
                water.append((r, c))
    seen = set(water)
    for r, c in water:
        if r == height - 1:
            continue
        new = []
        # 2. If there is no bar below the cell, the water flows to the cell below.
        if grid[r + 1][c] != 2:
            new.append((r + 1, c))
        else:
            # 3. If there is a bar below, the water goes to the left and to the right, cell by
            #    cell, as long as there is no bar in the way.
            for step in (-1, 1):
                x = c + step
                while 0 <= x < width and grid[r][x] != 2:
                    new.append((r, x))
                    # 4. It stops in the first cell that has no bar below.
                    if grid[r + 1][x] != 2:
                        break
                    x += step
        # 5. Color each new cell with 6 and add it to the list, if it was not there before.
        for y, x in new:
            if (y, x) not in seen:
                seen.add((y, x))
                output[y][x] = 6
                water.append((y, x))
    result = output
    return result
