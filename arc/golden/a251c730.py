def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output is smaller than the input.
    2. The input has a striped background and two large frames: rectangles with an outline of one
       color, at least 5 cells high and wide, filled with another color.
    3. In one frame, the model, there are figures of several cells that touch by sides or corners.
       Each has one key cell. The color of the key occurs only once in its figure.
    4. In the other frame, the plan, there are only single cells.
    5. The output is the plan, cut out of the grid.
    6. Each single cell with the color of a key has become the figure of this key, drawn around it
       in the same way. Other single cells stay.
    Procedure:
    1. Find the frames: go along the cells of one color to the right and down from each cell, and
       check whether an outline of this color closes and whether the most common color inside, the
       filling, is another one.
    2. Find the figures of each frame: cells inside that do not have the color of the filling and
       touch by sides or corners.
    3. The model is the frame with figures of several cells, the plan is the frame without.
    4. Cut out the plan.
    5. For each single cell of the plan find a figure of the model with its color. Draw the figure
       so that its cell of this color lies on the single cell.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the frames: go along the cells of one color to the right and down from each cell, and
    #    check whether an outline of this color closes and whether the most common color inside, the
    #    filling, is another one.
    frames = []
    for top in range(height - 4):
        for left in range(width - 4):
            color = grid[top][left]
            right = left
            while right + 1 < width and grid[top][right + 1] == color:
                right += 1
            bottom = top
            while bottom + 1 < height and grid[bottom + 1][left] == color:
                bottom += 1
            if bottom - top < 4 or right - left < 4:
                continue
            outline = grid[bottom][left : right + 1]
            outline += [grid[r][right] for r in range(top, bottom + 1)]
            inside = [cell for row in grid[top + 1 : bottom] for cell in row[left + 1 : right]]
            filling = max(set(inside), key=inside.count)
            if set(outline) == {color} and filling != color:
                frames.append((top, left, bottom, right, filling))
    # 2. Find the figures of each frame: cells inside that do not have the color of the filling and
    #    touch by sides or corners.
    model = []
    plan_cells = []
    for top, left, bottom, right, filling in frames:
        inner = [(r, c) for r in range(top + 1, bottom) for c in range(left + 1, right)]
        left_over = {(r, c) for r, c in inner if grid[r][c] != filling}
        figures = []
        while left_over:
            cells = []
            stack = [min(left_over)]
            while stack:
                r, c = stack.pop()
                if (r, c) in left_over:
                    left_over.remove((r, c))
                    cells.append((r, c))
                    stack += [(y, x) for y in (r - 1, r, r + 1) for x in (c - 1, c, c + 1)]
            figures.append(cells)
        # 3. The model is the frame with figures of several cells, the plan is the frame without.
        if any(len(cells) > 1 for cells in figures):
            model = figures
        else:
            plan = (top, left, bottom, right)
            plan_cells = [cells[0] for cells in figures]
    # 4. Cut out the plan.
    top, left, bottom, right = plan
    output = [row[left : right + 1] for row in grid[top : bottom + 1]]
    # 5. For each single cell of the plan find a figure of the model with its color. Draw the figure
    #    so that its cell of this color lies on the single cell.
    for plan_r, plan_c in plan_cells:
        for cells in model:
            keys = [(r, c) for r, c in cells if grid[r][c] == grid[plan_r][plan_c]]
            if len(keys) != 1:
                continue
            key_r, key_c = keys[0]
            for r, c in cells:
                y = plan_r + r - key_r
                x = plan_c + c - key_c
                if top <= y <= bottom and left <= x <= right:
                    output[y - top][x - left] = grid[r][c]
    result = output
    return result
