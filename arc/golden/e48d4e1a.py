def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color.
    3. One color fills a whole row and a whole column: it is a cross.
    4. The cross divides the grid into four quarters. In one of them, cells of a third color are a
       counter. The counter disappears.
    5. The cross moves away from this quarter, both up or down and left or right, by as many cells
       as the counter has.
    6. A line that would leave the grid disappears.
    Procedure:
    1. Find the background.
    2. Find the row and the column that have no background: the cross.
    3. Count the cells that are neither background nor of the color of the cross: the counter.
    4. The cross moves down if the counter is above its row, else up. It moves to the right if the
       counter is on the left of its column, else to the left.
    5. Make an output of background.
    6. Draw the row and the column of the cross, moved by the count, if they are on the grid.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    # 2. Find the row and the column that have no background: the cross.
    cross_row = next(r for r in range(height) if background not in grid[r])
    cross_column = next(c for c in range(width) if all(row[c] != background for row in grid))
    color = grid[cross_row][cross_column]
    # 3. Count the cells that are neither background nor of the color of the cross: the counter.
    counter = []
    for r in range(height):
        for c in range(width):
            if grid[r][c] not in (background, color):
                counter.append((r, c))
    # 4. The cross moves down if the counter is above its row, else up. It moves to the right if
    #    the counter is on the left of its column, else to the left.
    new_row, new_column = cross_row, cross_column
    for r, c in counter:
        new_row += 1 if r < cross_row else -1
        new_column += 1 if c < cross_column else -1
    # 5. Make an output of background.
    output = [[background] * width for _ in range(height)]
    # 6. Draw the row and the column of the cross, moved by the count, if they are on the grid.
    for r in range(height):
        for c in range(width):
            if r == new_row or c == new_column:
                output[r][c] = color
    result = output
    return result
