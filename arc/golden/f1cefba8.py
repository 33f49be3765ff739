def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. On a background there is one rectangle: a frame of one color, two cells thick, around a
       solid inner rectangle of another color. The background has a third color.
    3. In some places the inner color has a bump: one cell that reaches into the inner ring of the
       frame.
    4. In the output the bumps have become frame color.
    5. A bump in the upper or lower part of the frame gives a line along its whole column, a bump
       in the left or right part gives a line along its whole row.
    6. These lines have the frame color where they cross the inner rectangle, and the inner color
       where they cross the background. Apart from the bumps, the frame is not changed.
    Procedure:
    1. Find the frame color: the rectangle around its cells has only this color on its border, and
       just one other color, the inner color, inside.
    2. List the columns with a bump in the second row or in the second last row of the rectangle.
    3. List the rows with a bump in the second column or in the second last column of it.
    4. Go through all cells of these columns and rows. Outside the rectangle, give them the inner
       color; inside the rectangle, give them the frame color.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the frame color: the rectangle around its cells has only this color on its border,
    # and just one other color, the inner color, inside.
    for color in set(value for row in grid for value in row):
        places = [(r, c) for r in range(height) for c in range(width) if grid[r][c] == color]
        first_row = min(r for r, c in places)
        last_row = max(r for r, c in places)
        first_column = min(c for r, c in places)
        last_column = max(c for r, c in places)
        border = set()
        inside = set()
        for r in range(first_row, last_row + 1):
            for c in range(first_column, last_column + 1):
                if r in (first_row, last_row) or c in (first_column, last_column):
                    border.add(grid[r][c])
                else:
                    inside.add(grid[r][c])
        if border == {color} and len(inside - {color}) == 1:
            top, bottom, left, right = first_row, last_row, first_column, last_column
            frame = color
            inner = list(inside - {color})[0]
    # 2. List the columns with a bump in the second row or in the second last row of the rectangle.
    columns = []
    for c in range(left + 2, right - 1):
        if inner in (grid[top + 1][c], grid[bottom - 1][c]):
            columns.append(c)
    # 3. List the rows with a bump in the second column or in the second last column of it.
    rows = []
    for r in range(top + 2, bottom - 1):
        if inner in (grid[r][left + 1], grid[r][right - 1]):
            rows.append(r)
    # 4. Go through all cells of these columns and rows. Outside the rectangle, give them the inner
    # color; inside the rectangle, give them the frame color.
    output = [list(row) for row in grid]
    for r in range(height):
        for c in range(width):
            if r in rows or c in columns:
                if top <= r <= bottom and left <= c <= right:
                    output[r][c] = frame
                else:
                    output[r][c] = inner
    result = output
    return result
