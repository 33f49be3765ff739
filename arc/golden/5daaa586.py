def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output is smaller than the input; the background is the most common color.
    2. Two horizontal and two vertical lines go from edge to edge, each in its own color.
    3. All other rows and columns have some background.
    4. Single cells are scattered in the grid; all have one color, that of one of the lines.
    5. The output is the rectangle that the four lines enclose, with the lines around it.
    6. Inside, each scattered cell is extended in a straight line to the line of its color.
    Procedure:
    1. Find the two rows and the two columns that have no background: these are the lines.
    2. The color of a line is the most frequent color in its row or column.
    3. Cut out the rectangle from the first to the last line, in both directions.
    4. Go through the cells inside it that are not background.
    5. If the cell has the color of the top, bottom, left or right line, draw its color from the
       cell straight to that line.
    """
    def main_color(line):
        return max(set(line), key=line.count)

    background = main_color([cell for row in grid for cell in row])
    columns = [list(column) for column in zip(*grid)]
    # 1. Find the two rows and the two columns that have no background: these are the lines.
    top, bottom = [r for r in range(len(grid)) if background not in grid[r]]
    left, right = [c for c in range(len(columns)) if background not in columns[c]]
    # 2. The color of a line is the most frequent color in its row or column.
    top_color, bottom_color = main_color(grid[top]), main_color(grid[bottom])
    left_color, right_color = main_color(columns[left]), main_color(columns[right])
    # 3. Cut out the rectangle from the first to the last line, in both directions.
    inside = [row[left:right + 1] for row in grid[top:bottom + 1]]
    output = [row[:] for row in inside]
    last_row, last_column = bottom - top, right - left
    # 4. Go through the cells inside it that are not background.
    for r in range(1, last_row):
        for c in range(1, last_column):
            color = inside[r][c]
            if color == background:
                continue
            # 5. If the cell has the color of the top, bottom, left or right line, draw its color
            #    from the cell straight to that line.
            if color == top_color:
                path = [(y, c) for y in range(1, r)]
            elif color == bottom_color:
                path = [(y, c) for y in range(r, last_row)]
            elif color == left_color:
                path = [(r, x) for x in range(1, c)]
            elif color == right_color:
                path = [(r, x) for x in range(c, last_column)]
            for y, x in path:
                output[y][x] = color
    result = output
    return result
