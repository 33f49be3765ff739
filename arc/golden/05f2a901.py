def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size; the background is the most common color.
    2. The input has two objects of one color each: one is a solid rectangle, the other one
       is not.
    3. The rectangle stays where it is.
    4. The other object moves straight towards the rectangle until it touches it with a side of a
       cell.
    5. Both objects have cells in the same column or in the same row, never both. In the first case
       the other object moves up or down, in the second case left or right.
    Procedure:
    1. Find the background, and collect the cells of each other color.
    2. The resting object is the color whose cells fill the whole smallest rectangle around them;
       the other color is the mover.
    3. If they share a column, the mover goes down if the resting object is below it, else up.
       Otherwise they share a row; it goes right if the resting object is on its right side, else
       left.
    4. Move the mover by one cell as long as no cell of it has a cell of the resting object next to
       it in this direction, at most as often as the grid is high or wide.
    5. Make an output of background with the resting object and the moved mover, as far as it is in
       the grid.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background, and collect the cells of each other color.
    flat = [cell for row in grid for cell in row]
    background = max(set(flat), key=flat.count)
    places = {}
    for r in range(height):
        for c in range(width):
            if grid[r][c] != background:
                places.setdefault(grid[r][c], []).append((r, c))
    # 2. The resting object is the color whose cells fill the whole smallest rectangle around them;
    #    the other color is the mover.
    for color, cells in places.items():
        rows = max(r for r, c in cells) - min(r for r, c in cells) + 1
        columns = max(c for r, c in cells) - min(c for r, c in cells) + 1
        if len(cells) == rows * columns:
            resting_color = color
    resting = places[resting_color]
    mover_color = [color for color in places if color != resting_color][0]
    mover = places[mover_color]
    # 3. If they share a column, the mover goes down if the resting object is below it, else up.
    #    Otherwise they share a row; it goes right if the resting object is on its right side, else
    #    left.
    row_step, column_step = 0, 0
    if {c for r, c in resting} & {c for r, c in mover}:
        row_step = 1 if min(resting)[0] > max(mover)[0] else -1
    else:
        column_step = 1 if min(c for r, c in resting) > max(c for r, c in mover) else -1
    # 4. Move the mover by one cell as long as no cell of it has a cell of the resting object next
    #    to it in this direction, at most as often as the grid is high or wide.
    for _ in range(max(height, width)):
        moved = [(r + row_step, c + column_step) for r, c in mover]
        if any(cell in resting for cell in moved):
            break
        mover = moved
    # 5. Make an output of background with the resting object and the moved mover, as far as it is
    #    in the grid.
    output = [[background] * width for _ in range(height)]
    for r, c in resting:
        output[r][c] = resting_color
    for r, c in mover:
        if 0 <= r < height and 0 <= c < width:
            output[r][c] = mover_color
    result = output
    return result
