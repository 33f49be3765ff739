def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The input is full of random cells of a few colors.
    3. One color, the frame color, occurs only once as the outline of a rectangle. Inside there is
       only one color, the hole color.
    4. In the output the same frame is drawn at one more place. Nothing else changes.
    5. There is exactly one other place where a rectangle of the size of the inside has only the
       hole color. The frame is drawn around it.
    Procedure:
    1. For each color find the smallest rectangle that contains all its cells.
    2. The frame color is the one whose cells are exactly the outline of this rectangle, with one
       color inside.
    3. Go through all places in the grid where a rectangle of the same size fits.
    4. If the inside has only the hole color there, color the outline with the frame color.
    """
    height = len(grid)
    width = len(grid[0])

    def split(top, left, bottom, right):
        edge = []
        inside = []
        for r in range(top, bottom + 1):
            for c in range(left, right + 1):
                if r in (top, bottom) or c in (left, right):
                    edge.append((r, c))
                else:
                    inside.append((r, c))
        return edge, inside

    # 1. For each color find the smallest rectangle that contains all its cells.
    positions = [(r, c) for r in range(height) for c in range(width)]
    for color in sorted({cell for row in grid for cell in row}):
        cells = [(r, c) for r, c in positions if grid[r][c] == color]
        rows = [r for r, c in cells]
        columns = [c for r, c in cells]
        edge, inside = split(min(rows), min(columns), max(rows), max(columns))
        # 2. The frame color is the one whose cells are exactly the outline of this rectangle, with
        #    one color inside.
        inside_colors = {grid[r][c] for r, c in inside}
        if cells == edge and len(inside_colors) == 1:
            frame = color
            hole = min(inside_colors)
            frame_height = max(rows) - min(rows) + 1
            frame_width = max(columns) - min(columns) + 1
    # 3. Go through all places in the grid where a rectangle of the same size fits.
    output = [list(row) for row in grid]
    for top in range(height - frame_height + 1):
        for left in range(width - frame_width + 1):
            edge, inside = split(top, left, top + frame_height - 1, left + frame_width - 1)
            # 4. If the inside has only the hole color there, color the outline with the frame
            #    color.
            if all(grid[r][c] == hole for r, c in inside):
                for r, c in edge:
                    output[r][c] = frame
    result = output
    return result
