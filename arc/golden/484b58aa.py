def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The grid is covered by a pattern that repeats itself, so that moving it by certain steps,
       of at most half the height and half the width of the grid, leaves it unchanged.
    3. Some rectangles of one color hide parts of the pattern; this mask color is not part of
       the pattern.
    4. The output is the complete pattern, with no mask.
    Procedure:
    1. Try each color as the mask color, the rarest first, until the rest works out.
    2. List the moves, of at most half the height and half the width, that fit: wherever a cell
       and the cell moved from it are both inside the grid and not masked, they are equal.
    3. Fill each masked cell with a cell that is one fitting move away, forwards or backwards, and
       is not masked; repeat this until nothing changes.
    4. If no masked cell is left, this is the output.
    """
    height = len(grid)
    width = len(grid[0])
    output = [list(row) for row in grid]
    def fits(dr, dc, mask):
        for r in range(height - dr):
            for c in range(max(0, -dc), min(width, width - dc)):
                first = grid[r][c]
                second = grid[r + dr][c + dc]
                if first != second and first != mask and second != mask:
                    return False
        return True
    # 1. Try each color as the mask color, the rarest first, until the rest works out.
    cells = [value for row in grid for value in row]
    for mask in sorted(set(cells), key=cells.count):
        # 2. List the moves, of at most half the height and half the width, that fit: wherever a
        # cell and the cell moved from it are both inside the grid and not masked, they are equal.
        moves = []
        for dr in range(height // 2 + 1):
            for dc in range(-(width // 2), width // 2 + 1):
                if (dr, dc) != (0, 0) and fits(dr, dc, mask):
                    moves += [(dr, dc), (-dr, -dc)]
        # 3. Fill each masked cell with a cell that is one fitting move away, forwards or
        # backwards, and is not masked; repeat this until nothing changes.
        filled = [list(row) for row in grid]
        changed = True
        while changed:
            changed = False
            for r in range(height):
                for c in range(width):
                    for dr, dc in moves:
                        inside = 0 <= r + dr < height and 0 <= c + dc < width
                        if filled[r][c] == mask and inside and filled[r + dr][c + dc] != mask:
                            filled[r][c] = filled[r + dr][c + dc]
                            changed = True
        # 4. If no masked cell is left, this is the output.
        if not any(mask in row for row in filled):
            output = filled
            break
    result = output
    return result
