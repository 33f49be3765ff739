def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The output consists of stripes, each of one color. All stripes are vertical, or all are
       horizontal.
    3. The input is the same picture with noise: some cells have random colors.
    4. In each row (or column) of a stripe the color of the stripe is still the most common one.
    Procedure:
    1. Find the most common color of each row, and of each column.
    2. Count the cells that have the most common color of their row, and those that have the most
       common color of their column.
    3. If the first number is larger, the stripes are horizontal: fill each row with its color.
    4. Else the stripes are vertical: fill each column with its color.
    """
    height = len(grid)
    width = len(grid[0])

    def most_common(line):
        return max(set(line), key=line.count)

    # 1. Find the most common color of each row, and of each column.
    columns = [[row[c] for row in grid] for c in range(width)]
    row_colors = [most_common(row) for row in grid]
    column_colors = [most_common(column) for column in columns]
    # 2. Count the cells that have the most common color of their row, and those that have the most
    #    common color of their column.
    in_rows = sum(grid[r].count(row_colors[r]) for r in range(height))
    in_columns = sum(columns[c].count(column_colors[c]) for c in range(width))
    # 3. If the first number is larger, the stripes are horizontal: fill each row with its color.
    if in_rows > in_columns:
        output = [[color] * width for color in row_colors]
    # 4. Else the stripes are vertical: fill each column with its color.
    else:
        output = [list(column_colors) for row in grid]
    result = output
    return result
