def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The input has a background and lines of one other color.
    3. There are two full rows and two full columns of this color. They cut the grid into nine
       parts, three rows of three.
    4. The lines and the four corner parts stay the same.
    5. The other parts are filled: the top one with 2, the left one with 4, the middle one with 6,
       the right one with 3, the bottom one with 1.
    Procedure:
    1. Find the two rows that have only one color, and the color of the lines.
    2. Find the two columns that have only this color.
    3. For each cell that is not on a line count the line rows above it and the line columns to its
       left.
    4. With 0 rows and 1 column it becomes 2, with 1 and 0 it becomes 4, with 1 and 1 it becomes 6,
       with 1 and 2 it becomes 3, with 2 and 1 it becomes 1. Else it stays the same.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the two rows that have only one color, and the color of the lines.
    line_rows = [r for r in range(height) if len(set(grid[r])) == 1]
    line = grid[line_rows[0]][0]
    # 2. Find the two columns that have only this color.
    line_columns = [c for c in range(width) if all(row[c] == line for row in grid)]
    fills = {(0, 1): 2, (1, 0): 4, (1, 1): 6, (1, 2): 3, (2, 1): 1}
    output = [list(row) for row in grid]
    for r in range(height):
        for c in range(width):
            if r in line_rows or c in line_columns:
                continue
            # 3. For each cell that is not on a line count the line rows above it and the line
            #    columns to its left.
            above = len([row for row in line_rows if row < r])
            left = len([column for column in line_columns if column < c])
            # 4. With 0 rows and 1 column it becomes 2, with 1 and 0 it becomes 4, with 1 and 1 it
            #    becomes 6, with 1 and 2 it becomes 3, with 2 and 1 it becomes 1. Else it stays
            #    the same.
            output[r][c] = fills.get((above, left), grid[r][c])
    result = output
    return result
