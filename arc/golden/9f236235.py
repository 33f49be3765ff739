def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output is much smaller than the input.
    2. Full rows and full columns of one color, the lines, cut the input into tiles.
    3. Each tile has only one color.
    4. The output has one cell for each tile, with its color.
    5. The rows of tiles keep their order, but left and right are swapped: the output is mirrored.
    Procedure:
    1. Find the lines: rows with only one color and columns with only one color.
    2. The first row of each row of tiles is a row that is no line and comes first or directly
       after a line. Find these rows, and the columns likewise.
    3. Take the cells where these rows and columns meet.
    4. Reverse each row.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the lines: rows with only one color and columns with only one color.
    line_rows = [r for r in range(height) if len(set(grid[r])) == 1]
    line_columns = [c for c in range(width) if len({row[c] for row in grid}) == 1]

    def starts(lines, size):
        return [i for i in range(size) if i not in lines and (i == 0 or i - 1 in lines)]

    # 2. The first row of each row of tiles is a row that is no line and comes first or directly
    #    after a line. Find these rows, and the columns likewise.
    first_rows = starts(line_rows, height)
    first_columns = starts(line_columns, width)
    # 3. Take the cells where these rows and columns meet.
    tiles = [[grid[r][c] for c in first_columns] for r in first_rows]
    # 4. Reverse each row.
    result = [row[::-1] for row in tiles]
    return result
