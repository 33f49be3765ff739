def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size; the background is the most common color.
    2. The input has three more colors. One of them, the main color, is in one small object only,
       the model.
    3. The smallest rectangle around the main color holds the whole model, which has all three
       colors.
    4. Elsewhere there are solid squares of the two other colors.
    5. Each of them is part of exactly one incomplete enlarged copy of the model, in which each cell
       has become a square, and which may be mirrored: up and down, left and right, or both. It
       lacks the squares of the main color. No square fits into two such copies.
    6. In the output all the copies are complete.
    Procedure:
    1. Find the background: the most common color.
    2. For each other color find the smallest rectangle around its cells. The main color is the one
       whose rectangle is the smallest of those that hold all three colors. Cut this rectangle out;
       it is the model.
    3. Try the model unchanged, mirrored up and down, mirrored left and right, and both; enlarged as
       much as the grid allows, then by one less, and so on; in all places of the grid.
    4. It fits in a place if the grid is background in all squares of the main color, and has the
       same color in all squares of the two other colors, which are not yet used.
    5. If it fits, color the squares of the main color, and note that the others are used.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    flat = [cell for row in grid for cell in row]
    background = max(set(flat), key=flat.count)
    # 2. For each other color find the smallest rectangle around its cells. The main color is the
    #    one whose rectangle is the smallest of those that hold all three colors. Cut this rectangle
    #    out; it is the model.
    others = set(flat) - {background}
    parts = []
    for color in others:
        rows = [r for r in range(height) if color in grid[r]]
        columns = [c for c in range(width) if color in [row[c] for row in grid]]
        part = [row[columns[0]:columns[-1] + 1] for row in grid[rows[0]:rows[-1] + 1]]
        if others <= {cell for row in part for cell in row}:
            parts.append((len(part) * len(part[0]), color, part))
    area, main, model = min(parts)
    # 3. Try the model unchanged, mirrored up and down, mirrored left and right, and both; enlarged
    #    as much as the grid allows, then by one less, and so on; in all places of the grid.
    upside_down = model[::-1]
    views = [model, upside_down, [row[::-1] for row in model], [row[::-1] for row in upside_down]]
    rows, columns = len(model), len(model[0])
    output = [row[:] for row in grid]
    used = set()
    for size in range(min(height // rows, width // columns), 0, -1):
        places = []
        for top in range(height - rows * size + 1):
            for left in range(width - columns * size + 1):
                places.append((top, left))
        for view in views:
            squares = []
            for r in range(rows * size):
                for c in range(columns * size):
                    color = view[r // size][c // size]
                    if color != background:
                        squares.append((r, c, color))
            for top, left in places:
                # 4. It fits in a place if the grid is background in all squares of the main color,
                #    and has the same color in all squares of the two other colors, which are not
                #    yet used.
                fits = True
                for r, c, color in squares:
                    expected = background if color == main else color
                    if grid[top + r][left + c] != expected or (top + r, left + c) in used:
                        fits = False
                        break
                # 5. If it fits, color the squares of the main color, and note that the others are
                #    used.
                for r, c, color in squares:
                    if fits and color == main:
                        output[top + r][left + c] = main
                    elif fits:
                        used.add((top + r, left + c))
    result = output
    return result
