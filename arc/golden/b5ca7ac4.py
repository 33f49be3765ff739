def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size; the background is the most common color.
    2. The input has rectangular boxes, at least three cells high and wide, that do not overlap. A
       box has an outline one cell thick and is filled with one other color.
    3. The outline of a box has color 8 or 2.
    4. In the output the boxes with outline 8 have moved straight to the left, and those with
       outline 2 straight to the right.
    5. Each box moves until it is stopped by the edge of the grid or by a box with the same outline.
    6. Boxes with different outlines do not stop each other; they do not meet in the output.
    Procedure:
    1. Find the background: the most common color.
    2. Find the boxes: go through the cells row by row. A cell of color 8 or 2 that is in no box yet
       is the top left corner of a box. Its filling begins one cell further down and to the right.
       Go right and down from there as long as the color is the same; the outline comes next.
    3. Make an output of background.
    4. Take the boxes with outline 8 one by one, the leftmost one first. Each one gets the column
       right of the last column that is taken in one of its rows by the boxes placed before, or the
       first column if none is taken.
    5. Do the same with the boxes with outline 2, the rightmost one first, with left and right
       swapped.
    6. Copy each box with its inside to its new place.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    flat = [cell for row in grid for cell in row]
    background = max(set(flat), key=flat.count)
    # 2. Find the boxes: go through the cells row by row. A cell of color 8 or 2 that is in no box
    #    yet is the top left corner of a box. Its filling begins one cell further down and to the
    #    right. Go right and down from there as long as the color is the same; the outline comes
    #    next.
    boxes = []
    seen = set()
    for r in range(height):
        for c in range(width):
            color = grid[r][c]
            if color not in (2, 8) or (r, c) in seen:
                continue
            filling = grid[r + 1][c + 1]
            bottom, right = r + 2, c + 2
            while grid[r + 1][right] == filling:
                right += 1
            while grid[bottom][c + 1] == filling:
                bottom += 1
            boxes.append((c, r, right, bottom, color))
            seen |= {(y, x) for y in range(r, bottom + 1) for x in range(c, right + 1)}
    # 3. Make an output of background.
    output = [[background] * width for _ in range(height)]
    # 4. Take the boxes with outline 8 one by one, the leftmost one first. Each one gets the column
    #    right of the last column that is taken in one of its rows by the boxes placed before, or
    #    the first column if none is taken.
    moved = []
    taken = [0] * height
    for left, top, right, bottom, color in sorted(boxes):
        if color == 8:
            new_left = max(taken[top:bottom + 1])
            moved.append((left, top, right, bottom, new_left))
            for r in range(top, bottom + 1):
                taken[r] = new_left + right - left + 1
    # 5. Do the same with the boxes with outline 2, the rightmost one first, with left and right
    #    swapped.
    taken = [width] * height
    for left, top, right, bottom, color in sorted(boxes, reverse=True):
        if color == 2:
            new_left = min(taken[top:bottom + 1]) - (right - left + 1)
            moved.append((left, top, right, bottom, new_left))
            for r in range(top, bottom + 1):
                taken[r] = new_left
    # 6. Copy each box with its inside to its new place.
    for left, top, right, bottom, new_left in moved:
        for r in range(top, bottom + 1):
            output[r][new_left:new_left + right - left + 1] = grid[r][left:right + 1]
    result = output
    return result
