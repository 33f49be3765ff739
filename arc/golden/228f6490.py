def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size, and the background is the most common color.
    2. The next most common color is that of large blocks. Each block has a hole: background inside
       of it.
    3. Cells of other colors form pieces. Cells of one color that touch side by side are one piece.
    4. One piece has exactly the form of the hole of a block. It moves into the hole.
    5. If several pieces have this form, it is the one whose color has the fewest pieces.
    6. The other pieces stay where they are.
    Procedure:
    1. Find the groups of cells of one color that touch side by side.
    2. The holes are the groups of background that touch only the color of the blocks, and not the
       border of the grid.
    3. The groups of colors other than background and blocks are the pieces.
    4. For each hole look for the pieces of the same form. Take one whose color has the fewest
       pieces.
    5. Erase the piece, and fill the hole with its color.
    """
    height = len(grid)
    width = len(grid[0])
    cells = [cell for row in grid for cell in row]
    colors = sorted(set(cells), key=cells.count, reverse=True)
    background = colors[0]
    block = colors[1]
    # 1. Find the groups of cells of one color that touch side by side.
    groups = []
    seen = set()
    for r in range(height):
        for c in range(width):
            if (r, c) in seen:
                continue
            group = [(r, c)]
            seen.add((r, c))
            around = set()
            for y, x in group:
                for ny, nx in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
                    inside = 0 <= ny < height and 0 <= nx < width
                    around.add(grid[ny][nx] if inside else None)
                    if inside and (ny, nx) not in seen and grid[ny][nx] == grid[r][c]:
                        seen.add((ny, nx))
                        group.append((ny, nx))
            groups.append((grid[r][c], group, around))
    # 2. The holes are the groups of background that touch only the color of the blocks, and not
    #    the border of the grid.
    holes = []
    for color, group, around in groups:
        if color == background and around <= {background, block}:
            holes.append(group)
    # 3. The groups of colors other than background and blocks are the pieces.
    pieces = [(color, group) for color, group, _ in groups if color not in (background, block)]
    colors = [color for color, _ in pieces]
    pieces.sort(key=lambda piece: colors.count(piece[0]))
    output = [list(row) for row in grid]
    for hole in holes:
        # 4. For each hole look for the pieces of the same form. Take one whose color has the
        #    fewest pieces.
        for color, piece in pieces:
            dr, dc = hole[0][0] - piece[0][0], hole[0][1] - piece[0][1]
            if {(r + dr, c + dc) for r, c in piece} == set(hole):
                # 5. Erase the piece, and fill the hole with its color.
                for r, c in piece:
                    output[r][c] = background
                for r, c in hole:
                    output[r][c] = color
                pieces.remove((color, piece))
                break
    result = output
    return result
