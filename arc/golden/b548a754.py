def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size; the background is the most common color.
    2. The input has one rectangle, at least three cells high and wide, with an edge of one color,
       one cell thick, and another color inside.
    3. Besides it there is one single cell of a third color, the target, straight above, below, left
       or right of the rectangle.
    4. In the output the rectangle is extended up to the target, which it covers.
    5. The extended rectangle has an edge and an inside of the same colors as before.
    Procedure:
    1. Find the background: the most common color.
    2. Find the smallest rectangle around all cells that are not background: this is the extended
       rectangle.
    3. The color of the edge is the one that is most often on the outline of this rectangle, not
       counting background.
    4. The inside color is the one that is not background and nowhere on the outline.
    5. Color the outline of this rectangle with the edge color and the rest with the inside color.
    """
    # 1. Find the background: the most common color.
    flat = [cell for row in grid for cell in row]
    background = max(set(flat), key=flat.count)
    # 2. Find the smallest rectangle around all cells that are not background: this is the extended
    #    rectangle.
    places = []
    for r in range(len(grid)):
        for c in range(len(grid[0])):
            if grid[r][c] != background:
                places.append((r, c))
    top, bottom = min(r for r, c in places), max(r for r, c in places)
    left, right = min(c for r, c in places), max(c for r, c in places)
    # 3. The color of the edge is the one that is most often on the outline of this rectangle, not
    #    counting background.
    outline = [grid[r][c] for r, c in places if r in (top, bottom) or c in (left, right)]
    edge_color = max(set(outline), key=outline.count)
    # 4. The inside color is the one that is not background and nowhere on the outline.
    inside_color = [grid[r][c] for r, c in places if grid[r][c] not in outline][0]
    # 5. Color the outline of this rectangle with the edge color and the rest with the inside color.
    output = [row[:] for row in grid]
    for r in range(top, bottom + 1):
        for c in range(left, right + 1):
            on_outline = r in (top, bottom) or c in (left, right)
            output[r][c] = edge_color if on_outline else inside_color
    result = output
    return result
