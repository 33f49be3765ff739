def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is the most common color.
    2. There are a few figures like the letter Y, each in a color of its own. Some may be turned.
    3. In the output each figure is filled: the background cells between its two arms have its
       color.
    4. In each row and in each column the background cells from the first to the last cell of a
       color get this color.
    Procedure:
    1. Find the background: the most common color.
    2. Go through the background cells and the other colors.
    3. If the color is both to the left and to the right of the cell, or both above and below it,
       color the cell with it.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)
    colors = sorted(set(cells) - {background})
    output = [list(row) for row in grid]
    for r in range(height):
        for c in range(width):
            row = grid[r]
            column = [line[c] for line in grid]
            # 2. Go through the background cells and the other colors.
            for color in colors:
                if grid[r][c] != background:
                    continue
                # 3. If the color is both to the left and to the right of the cell, or both above
                #    and below it, color the cell with it.
                across = color in row[:c] and color in row[c:]
                along = color in column[:r] and color in column[r:]
                if across or along:
                    output[r][c] = color
    result = output
    return result
