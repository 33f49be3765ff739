def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The background is the most common color.
    2. The input has squares of one color each, all of the same size, at least three cells wide,
       with background between them.
    3. Some squares are solid, the others are hollow: outlines one cell thick with background
       inside.
    4. The output is two squares wide: the hollow ones are at the left, the solid ones at the right.
    5. On both sides they are in the order from top to bottom that their top rows have in the input.
    6. If there are more of one kind, the places left over on the other side are background.
    Procedure:
    1. Find the background: the most common color.
    2. Go through the cells row by row. A cell that is not background and has no cell of its color
       above and none at its left is the top left cell of a square.
    3. Count the cells of its color from there to the right: this is the side. Cut out the square.
    4. If the second cell of its second row is background, the square is hollow: append it to the
       list of hollow ones, else to that of solid ones.
    5. Append squares of background to the shorter list until both have the same length.
    6. Put the first hollow square beside the first solid one, below these the second ones, and so
       on.
    """
    width = len(grid[0])
    # 1. Find the background: the most common color.
    flat = [cell for row in grid for cell in row]
    background = max(set(flat), key=flat.count)
    hollow = []
    solid = []
    for r in range(len(grid)):
        for c in range(width):
            # 2. Go through the cells row by row. A cell that is not background and has no cell of
            #    its color above and none at its left is the top left cell of a square.
            color = grid[r][c]
            above = grid[r - 1][c] if r > 0 else background
            at_left = grid[r][c - 1] if c > 0 else background
            if color == background or color in (above, at_left):
                continue
            # 3. Count the cells of its color from there to the right: this is the side. Cut out the
            #    square.
            side = 1
            while c + side < width and grid[r][c + side] == color:
                side += 1
            square = [row[c:c + side] for row in grid[r:r + side]]
            # 4. If the second cell of its second row is background, the square is hollow: append it
            #    to the list of hollow ones, else to that of solid ones.
            if square[1][1] == background:
                hollow.append(square)
            else:
                solid.append(square)
    # 5. Append squares of background to the shorter list until both have the same length.
    side = len((hollow + solid)[0])
    empty = [[background] * side for _ in range(side)]
    while len(hollow) < len(solid):
        hollow.append(empty)
    while len(solid) < len(hollow):
        solid.append(empty)
    # 6. Put the first hollow square beside the first solid one, below these the second ones, and so
    #    on.
    output = []
    for left, right in zip(hollow, solid):
        for left_row, right_row in zip(left, right):
            output.append(left_row + right_row)
    result = output
    return result
