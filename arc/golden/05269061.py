def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The input has some parallel lines of color on the background 0. A line runs from border to
       border and has one color.
    3. The lines are diagonals that go up to the right or down to the right. Whole rows or whole
       columns can be handled in the same way.
    4. The output is full of such lines in the same direction, without 0.
    5. The colors of the lines repeat in a fixed order. The period is the number of lines after
       which it starts again. The input shows each line of a period at least once.
    6. The cells of a line have the same number: row plus column if it goes up to the right, column
       minus row if it goes down to the right, the row if it is a row, the column if it is a column.
    Procedure:
    1. Try the periods from 1 upward, and for each the four directions of the lines.
    2. Compute the number of each colored cell for this direction. Divide it by the period: the rest
       tells the place of its color in the order.
    3. The period and direction are right if each place gets exactly one color. Take the first ones
       that are right.
    4. Color each cell of the output with the color of its place.
    """
    height = len(grid)
    width = len(grid[0])
    # The number of a cell is row_part * row + column_part * column.
    directions = [(1, 1), (-1, 1), (1, 0), (0, 1)]
    right = []
    # 1. Try the periods from 1 upward, and for each the four directions of the lines.
    for period in range(1, height + width):
        for row_part, column_part in directions:
            # 2. Compute the number of each colored cell for this direction. Divide it by the
            #    period: the rest tells the place of its color in the order.
            order = [set() for i in range(period)]
            for r in range(height):
                for c in range(width):
                    if grid[r][c] != 0:
                        number = row_part * r + column_part * c
                        order[number % period].add(grid[r][c])
            # 3. The period and direction are right if each place gets exactly one color. Take the
            #    first ones that are right.
            if all(len(colors) == 1 for colors in order):
                colors = [min(colors) for colors in order]
                right.append((period, row_part, column_part, colors))
    period, row_part, column_part, colors = right[0]
    # 4. Color each cell of the output with the color of its place.
    output = []
    for r in range(height):
        row = [colors[(row_part * r + column_part * c) % period] for c in range(width)]
        output.append(row)
    result = output
    return result
