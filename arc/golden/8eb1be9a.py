def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The most common color is the background.
    3. All other colors stand in one block of neighboring rows; the other rows are empty.
    4. In the output this block is repeated upwards and downwards without gaps, until the whole
       grid is covered. At the upper and lower border only a part of the block may fit.
    Procedure:
    1. Find the background.
    2. Find the first and the last row that are not just background, and the height of this block.
    3. Replace each row by the row of the block that is a whole number of block heights away.
    """
    # 1. Find the background.
    height = len(grid)
    cells = [value for row in grid for value in row]
    background = max(set(cells), key=cells.count)
    # 2. Find the first and the last row that are not just background, and the height of this
    # block.
    used_rows = [r for r in range(height) if set(grid[r]) != {background}]
    first = used_rows[0]
    last = used_rows[-1]
    block_height = last - first + 1
    # 3. Replace each row by the row of the block that is a whole number of block heights away.
    output = []
    for r in range(height):
        source = r
        while source < first:
            source += block_height
        while source > last:
            source -= block_height
        output.append(list(grid[source]))
    result = output
    return result
