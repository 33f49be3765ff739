def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is 0.
    2. There are cells of 1, the water. All the other colored cells are walls, which stay the same.
    3. In the output some water is gone at the top. The same number of cells of water fill gaps
       farther below.
    4. A gap is a cell of 0 with colored cells somewhere to its left and to its right in its row.
    5. The lowest gaps are filled first, in a row from right to left. The water comes from the
       highest row with water.
    Procedure:
    1. Find the first cell of water, row by row from the top.
    2. Find the last gap: the lowest row with a gap, and in it the rightmost one.
    3. If the gap is in a lower row than the cell of water, move the water: the cell becomes 0 and
       the gap becomes 1.
    4. Repeat this until there is no water, no gap, or the gap is not lower.
    """
    height = len(grid)
    width = len(grid[0])
    output = [list(row) for row in grid]
    moving = True
    while moving:
        moving = False
        # 1. Find the first cell of water, row by row from the top.
        water = [(r, c) for r in range(height) for c in range(width) if output[r][c] == 1]
        # 2. Find the last gap: the lowest row with a gap, and in it the rightmost one.
        gaps = []
        for r in range(height):
            for c in range(width):
                row = output[r]
                if row[c] == 0 and any(row[:c]) and any(row[c + 1 :]):
                    gaps.append((r, c))
        # 3. If the gap is in a lower row than the cell of water, move the water: the cell becomes
        #    0 and the gap becomes 1.
        if water and gaps and gaps[-1][0] > water[0][0]:
            water_r, water_c = water[0]
            gap_r, gap_c = gaps[-1]
            output[water_r][water_c] = 0
            output[gap_r][gap_c] = 1
            moving = True
        # 4. Repeat this until there is no water, no gap, or the gap is not lower.
    result = output
    return result
