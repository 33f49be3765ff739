def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The most common color is the background.
    3. There is one object: the largest group of cells that touch by sides or corners. Its height
       and its width are odd numbers, so it has a middle cell.
    4. Elsewhere there are single cells of one more color, the markers.
    5. In the output the object is kept, and each marker is replaced by a copy of the object, whose
       middle lies at the place of the marker; what would lie outside the grid is left out.
    Procedure:
    1. Find the background.
    2. Collect the groups of touching cells that are not background. The largest is the object, the
       cells of all others are markers.
    3. Find the middle row and the middle column of the object.
    4. Remove each marker.
    5. Draw the cells of the object around the place of each marker, as far from it as they are
       from the middle of the object; leave out what lies outside the grid.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [value for row in grid for value in row]
    background = max(set(cells), key=cells.count)
    # 2. Collect the groups of touching cells that are not background. The largest is the object,
    # the cells of all others are markers.
    unseen = []
    for r in range(height):
        for c in range(width):
            if grid[r][c] != background:
                unseen.append((r, c))
    groups = []
    while unseen:
        group = [unseen.pop()]
        for r, c in group:
            for cell in list(unseen):
                if abs(cell[0] - r) <= 1 and abs(cell[1] - c) <= 1:
                    unseen.remove(cell)
                    group.append(cell)
        groups.append(group)
    shape = max(groups, key=len)
    markers = [cell for group in groups if group != shape for cell in group]
    # 3. Find the middle row and the middle column of the object.
    rows = [r for r, c in shape]
    columns = [c for r, c in shape]
    middle_row = (min(rows) + max(rows)) // 2
    middle_column = (min(columns) + max(columns)) // 2
    # 4. Remove each marker.
    output = [list(row) for row in grid]
    for r, c in markers:
        output[r][c] = background
    # 5. Draw the cells of the object around the place of each marker, as far from it as they are
    # from the middle of the object; leave out what lies outside the grid.
    for row, column in markers:
        for r, c in shape:
            new_row = row + r - middle_row
            new_column = column + c - middle_column
            if 0 <= new_row < height and 0 <= new_column < width:
                output[new_row][new_column] = grid[r][c]
    result = output
    return result
