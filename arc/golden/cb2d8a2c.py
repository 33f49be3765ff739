def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is the most common color.
    2. There are some bars, straight and one cell thick, of 2 and 1. Each begins at one border of
       the grid and ends before the opposite border. All are parallel.
    3. There is one cell of 3 at a border, not in a corner. In the output a path of 3 leads from it
       to the opposite border, across the direction of the bars.
    4. In the output all cells of the bars are 2.
    5. The path keeps a distance from each bar: the number of its cells of 1 plus one.
    6. The path goes straight until it is at this distance in front of the bar. Then it turns and
       goes along the bar until it is at the same distance beyond its free end. Then it goes
       straight on to the next bar.
    Procedure:
    1. Turn or mirror the grid so that the bars are vertical and the cell of 3 is at the left.
    2. Find the columns with a bar, and for each bar its rows and its number of cells of 1.
    3. Start at the cell of 3. For each bar from left to right draw 3 to the right until the
       distance in front of the bar is reached.
    4. The free end of the bar is the lower one if the bar begins at the top, else the upper one.
       Draw 3 up or down to the row at the distance beyond the free end.
    5. After the last bar draw 3 to the right border.
    6. Color the bars with 2 and turn the grid back.
    """

    def swap(rows):
        return [list(column) for column in zip(*rows, strict=True)]

    def mirror(rows):
        return [row[::-1] for row in rows]

    # 1. Turn or mirror the grid so that the bars are vertical and the cell of 3 is at the left.
    output = [list(row) for row in grid]
    vertical = any(row[0] == 3 or row[-1] == 3 for row in grid)
    if not vertical:
        output = swap(output)
    mirrored = any(row[-1] == 3 for row in output)
    if mirrored:
        output = mirror(output)
    height = len(output)
    width = len(output[0])
    # 2. Find the columns with a bar, and for each bar its rows and its number of cells of 1.
    r = [row[0] for row in output].index(3)
    c = 0
    for column in range(1, width):
        rows = [y for y in range(height) if output[y][column] in (1, 2)]
        if not rows:
            continue
        distance = len([y for y in rows if output[y][column] == 1]) + 1
        # 3. Start at the cell of 3. For each bar from left to right draw 3 to the right until the
        #    distance in front of the bar is reached.
        while c < column - distance:
            c += 1
            output[r][c] = 3
        # 4. The free end of the bar is the lower one if the bar begins at the top, else the upper
        #    one. Draw 3 up or down to the row at the distance beyond the free end.
        target = rows[-1] + distance if rows[0] == 0 else rows[0] - distance
        target = max(0, min(height - 1, target))
        while r != target:
            r += 1 if r < target else -1
            output[r][c] = 3
    # 5. After the last bar draw 3 to the right border.
    while c < width - 1:
        c += 1
        output[r][c] = 3
    # 6. Color the bars with 2 and turn the grid back.
    output = [[2 if cell == 1 else cell for cell in row] for row in output]
    if mirrored:
        output = mirror(output)
    if not vertical:
        output = swap(output)
    result = output
    return result
