def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size; the background is the most common color.
    2. A line of one color that is nowhere else goes from edge to edge, horizontal or vertical.
    3. On one side of it there is a picture, a small rectangle without background.
    4. The picture has an odd height and an odd width.
    5. On the other side of the line there are single cells, the marks; they do not touch by sides.
    6. In the output each mark is replaced by a copy of the picture, with the mark at its center.
    Procedure:
    1. Find the background: the most common color.
    2. Find the line: a row or a column with one color that is not background and nowhere else.
    3. Take the cells that are not background on each side of the line. On the side of the
       picture some of them are side by side; those on the other side are the marks.
    4. Find the smallest rectangle around the picture, and its center.
    5. For each mark and each cell of the rectangle, copy the cell to the place that is as far from
       the mark, in the same direction, as the cell is from the center, if it is in the grid.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    flat = [cell for row in grid for cell in row]
    background = max(set(flat), key=flat.count)
    columns = [list(column) for column in zip(*grid)]

    def is_line(cells):
        color = cells[0]
        all_equal = color != background and len(set(cells)) == 1
        return all_equal and flat.count(color) == len(cells)

    # 2. Find the line: a row or a column with one color that is not background and nowhere else.
    places = [(r, c) for r in range(height) for c in range(width) if grid[r][c] != background]
    for i in range(height):
        if is_line(grid[i]):
            sides = [[(r, c) for r, c in places if r < i], [(r, c) for r, c in places if r > i]]
    for i in range(width):
        if is_line(columns[i]):
            sides = [[(r, c) for r, c in places if c < i], [(r, c) for r, c in places if c > i]]
    # 3. Take the cells that are not background on each side of the line. On the side of the picture
    #    some of them are side by side; those on the other side are the marks.
    if any((r, c + 1) in sides[0] or (r + 1, c) in sides[0] for r, c in sides[0]):
        picture, marks = sides
    else:
        marks, picture = sides
    # 4. Find the smallest rectangle around the picture, and its center.
    top, bottom = min(r for r, c in picture), max(r for r, c in picture)
    left, right = min(c for r, c in picture), max(c for r, c in picture)
    center_row, center_column = (top + bottom) // 2, (left + right) // 2
    # 5. For each mark and each cell of the rectangle, copy the cell to the place that is as far
    #    from the mark, in the same direction, as the cell is from the center, if it is in the grid.
    output = [row[:] for row in grid]
    for mark_row, mark_column in marks:
        for r in range(top, bottom + 1):
            for c in range(left, right + 1):
                y = mark_row + r - center_row
                x = mark_column + c - center_column
                if 0 <= y < height and 0 <= x < width:
                    output[y][x] = grid[r][c]
    result = output
    return result
