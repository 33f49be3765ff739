def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size, and the background is 0.
    2. On one side of the grid colored cells are the starts of lines. Each line goes straight to the
       opposite side.
    3. On the way of each start there is a second cell of the same color. The distance between the
       two cells is the step of the line.
    4. The line colors each cell that is reached from the start with whole steps.
    5. On the way there may be one more cell, in another color. If the steps reach this cell, the
       whole line gets its color and ends there.
    6. If they do not reach it, the cell stays the same, and the line ignores it.
    7. All colored cells of the input lie on the way of a start.
    Procedure:
    1. Turn the grid until each row with colored cells has one in the first column: the starts.
    2. In each such row find the second cell of the color of the start. Its column is the step.
    3. Look at the cells that the steps reach, up to the end of the row.
    4. If one of them has another color, the line ends there and gets this color.
    5. Draw the line, and turn the grid back.
    """
    output = [list(row) for row in grid]
    done = False
    for _ in range(4):
        # 1. Turn the grid until each row with colored cells has one in the first column: the
        #    starts.
        if not done and all(row[0] != 0 or not any(row) for row in output):
            done = True
            for row in output:
                if row[0] == 0:
                    continue
                # 2. In each such row find the second cell of the color of the start. Its column is
                #    the step.
                color = row[0]
                step = row.index(color, 1)
                # 3. Look at the cells that the steps reach, up to the end of the row.
                reached = list(range(0, len(row), step))
                # 4. If one of them has another color, the line ends there and gets this color.
                for i in list(reached):
                    if row[i] not in (0, color):
                        color = row[i]
                        reached = [place for place in reached if place <= i]
                # 5. Draw the line, and turn the grid back.
                for i in reached:
                    row[i] = color
        output = [list(row) for row in zip(*output[::-1])]
    result = output
    return result
