def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output is smaller than the input; the background is the most common color.
    2. The input has two more colors, the line color and the noise color.
    3. The cells of the line color form two straight lines, one cell thick, of the same length,
       side by side: two vertical lines in the same rows or two horizontal ones in the same columns.
    4. At both ends of each line is a cell of the noise color; other such cells are scattered.
    5. These four cells are the corners of a rectangle, and the output is that rectangle.
    Procedure:
    1. Find the background: the most common color.
    2. For each other color find the smallest rectangle around its cells.
    3. Extend it by one row above and below, or by one column left and right: two candidates.
    4. A candidate is right if its four corners have the same color, which is neither background
       nor the line color, and the color fills the two sides between the corners.
    5. The output is the part of the input in the right candidate.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)
    output = grid
    for color in sorted(set(cells)):
        if color == background:
            continue
        # 2. For each other color find the smallest rectangle around its cells.
        rows = [r for r in range(height) if color in grid[r]]
        columns = [c for c in range(width) if color in [row[c] for row in grid]]
        top, bottom, left, right = rows[0], rows[-1], columns[0], columns[-1]
        # 3. Extend it by one row above and below, or by one column left and right: two candidates.
        candidates = [(top - 1, bottom + 1, left, right), (top, bottom, left - 1, right + 1)]
        for first_row, last_row, first_column, last_column in candidates:
            if first_row < 0 or first_column < 0 or last_row >= height or last_column >= width:
                continue
            # 4. A candidate is right if its four corners have the same color, which is neither
            #    background nor the line color, and the color fills the two sides between the
            #    corners.
            end_rows, end_columns = (first_row, last_row), (first_column, last_column)
            corners = {grid[r][c] for r in end_rows for c in end_columns}
            sides = {grid[r][c] for r in range(top, bottom + 1) for c in (left, right)}
            if first_row == top:
                sides = {grid[r][c] for r in (top, bottom) for c in range(left, right + 1)}
            if len(corners) == 1 and not corners & {background, color} and sides == {color}:
                # 5. The output is the part of the input in the right candidate.
                part = grid[first_row:last_row + 1]
                output = [row[first_column:last_column + 1] for row in part]
    result = output
    return result
