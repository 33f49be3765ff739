def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size, and the background is 0.
    2. Cells of color 5 form large blocks. Each block has a hole: background inside of it.
    3. The other cells form pieces of one color each. Cells that touch side by side are one piece.
    4. Some piece has exactly the form of the hole. It moves into the hole.
    5. The other pieces stay where they are.
    Procedure:
    1. Find the groups of cells of one color that touch side by side.
    2. The holes are the groups of 0 that touch only cells of color 5 and not the border.
    3. For each hole look for a piece that has the same form, wherever it lies.
    4. Erase the piece, and fill the hole with its color.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the groups of cells of one color that touch side by side.
    holes = []
    pieces = []
    seen = set()
    for r in range(height):
        for c in range(width):
            if grid[r][c] == 5 or (r, c) in seen:
                continue
            group = [(r, c)]
            seen.add((r, c))
            around = set()
            for y, x in group:
                for ny, nx in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                    inside = 0 <= ny < height and 0 <= nx < width
                    around.add(grid[ny][nx] if inside else -1)
                    if inside and (ny, nx) not in seen and grid[ny][nx] == grid[r][c]:
                        seen.add((ny, nx))
                        group.append((ny, nx))
            # 2. The holes are the groups of 0 that touch only cells of color 5 and not the border.
            if grid[r][c] != 0:
                pieces.append(group)
            elif around <= {0, 5}:
                holes.append(group)
    output = [list(row) for row in grid]
    # 3. For each hole look for a piece that has the same form, wherever it lies.
    for hole in holes:
        for piece in pieces:
            dr, dc = min(hole)[0] - min(piece)[0], min(hole)[1] - min(piece)[1]
            if {(r + dr, c + dc) for r, c in piece} == set(hole):
                # 4. Erase the piece, and fill the hole with its color.
                for r, c in piece:
                    output[r][c] = 0
                    output[r + dr][c + dc] = grid[r][c]
    result = output
    return result
