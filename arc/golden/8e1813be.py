def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output is a square, smaller than the input.
    2. The input has a background, the most common color, and one filled rectangle.
    3. All the other cells that are not background form straight lines, each in a color of its own.
    4. All lines are horizontal, or all lines are vertical. Each is one cell thick.
    5. The rectangle and a gap around it hide a part of some lines.
    6. The output has as many rows and columns as there are lines. It shows the colors of the lines
       in order: as full rows if they are horizontal, as full columns if they are vertical.
    Procedure:
    1. Find the background: the most common color.
    2. For each other color find the rows and the columns that have it.
    3. The rectangle is the color with several rows and several columns. The others are lines.
    4. If some line is in several rows, the lines are vertical: sort them from left to right and
       repeat the row of all their colors.
    5. Else they are horizontal: sort them from top to bottom and repeat each color in a row.
    """
    # 1. Find the background: the most common color.
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)
    lines = []
    vertical = False
    # 2. For each other color find the rows and the columns that have it.
    for color in sorted(set(cells) - {background}):
        rows = [r for r in range(len(grid)) if color in grid[r]]
        columns = [c for c in range(len(grid[0])) if color in [row[c] for row in grid]]
        # 3. The rectangle is the color with several rows and several columns. The others are lines.
        if len(rows) == 1 or len(columns) == 1:
            lines.append((rows[0], columns[0], color))
            vertical = vertical or len(rows) > 1
    # 4. If some line is in several rows, the lines are vertical: sort them from left to right and
    #    repeat the row of all their colors.
    if vertical:
        lines.sort(key=lambda line: line[1])
        output = [[color for row, column, color in lines] for line in lines]
    # 5. Else they are horizontal: sort them from top to bottom and repeat each color in a row.
    else:
        lines.sort(key=lambda line: line[0])
        output = [[color] * len(lines) for row, column, color in lines]
    result = output
    return result
