def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is 0.
    2. The input has single cells of 2, 3, 5 and 8, the seeds. Each seed color belongs to one stamp
       of 4 rows and 4 columns:
       2 to the outline of a square, drawn with 4;
       3 to the outline of a square without its four corners, drawn with 1;
       5 to a 2x2 block at the top left and one at the bottom right, drawn with 6;
       8 to both diagonals of a square, drawn with 7.
    3. The input can also show some stamps that are drawn already.
    4. In the output each seed is gone. In its place its stamp is drawn, with its top left corner
       where the seed was.
    5. But if a drawn stamp of the same kind touches the seed from above left, with its bottom right
       corner, then the seed and this stamp are both gone.
    Procedure:
    1. Write down the places and the color of the stamp for each seed color.
    2. Start with the input without its seeds.
    3. For each seed look at the stamp 4 rows higher and 4 columns farther left. If all its cells
       are there in the input, remove them. Such a seed is used up.
    4. For each other seed draw its stamp with the top left corner at the seed. Leave out what is
       outside of the grid.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Write down the places and the color of the stamp for each seed color.
    square = [(r, c) for r in range(4) for c in range(4)]
    outline = [(r, c) for r, c in square if r in (0, 3) or c in (0, 3)]
    no_corners = [(r, c) for r, c in outline if not (r in (0, 3) and c in (0, 3))]
    blocks = [(r, c) for r, c in square if r // 2 == c // 2]
    diagonals = [(r, c) for r, c in square if r == c or r + c == 3]
    stamps = {2: (outline, 4), 3: (no_corners, 1), 5: (blocks, 6), 8: (diagonals, 7)}

    def color_at(r, c):
        return grid[r][c] if 0 <= r < height and 0 <= c < width else 0

    # 2. Start with the input without its seeds.
    output = [[0 if cell in stamps else cell for cell in row] for row in grid]
    seeds = [(r, c) for r in range(height) for c in range(width) if grid[r][c] in stamps]
    # 3. For each seed look at the stamp 4 rows higher and 4 columns farther left. If all its cells
    #    are there in the input, remove them. Such a seed is used up.
    growing = []
    for r, c in seeds:
        places, color = stamps[grid[r][c]]
        before = [(r - 4 + y, c - 4 + x) for y, x in places]
        if all(color_at(y, x) == color for y, x in before):
            for y, x in before:
                output[y][x] = 0
        else:
            growing.append((r, c))
    # 4. For each other seed draw its stamp with the top left corner at the seed. Leave out what is
    #    outside of the grid.
    for r, c in growing:
        places, color = stamps[grid[r][c]]
        for y, x in places:
            if r + y < height and c + x < width:
                output[r + y][c + x] = color
    result = output
    return result
