def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output is 9x9: three rows of three 3x3 pieces.
    2. The input has a background, the most common color, and nine 3x3 pieces, which do not overlap.
    3. All pieces have the same main color, the second most common one. Eight of them also have
       a few cells of another color, the mark.
    4. In the output each piece lies where its mark points to: a piece with the mark in its top
       left corner lies in the top left, one with the mark along its top side lies in the top
       middle, and so on. The piece without mark lies in the center.
    Procedure:
    1. Count the colors: the most common one is the background, the second one is the main color.
    2. Go through the cells row by row. The first cell that is not background and not yet part of a
       piece is the top left cell of the next piece.
    3. Count how many cells of the mark lie in the first and in the last row of the piece, and in
       the first and in the last column.
    4. If the first row has more than the last one, the piece belongs to the top. If it has fewer,
       it belongs to the bottom, else to the middle. The columns tell left, right and middle.
    5. Draw the piece there.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Count the colors: the most common one is the background, the second one is the main color.
    cells = [cell for row in grid for cell in row]
    background, main = sorted(set(cells), key=cells.count, reverse=True)[:2]
    output = [[main] * 9 for r in range(9)]

    def place(first, last):
        first_marks = len([cell for cell in first if cell != main])
        last_marks = len([cell for cell in last if cell != main])
        if first_marks > last_marks:
            return 0
        return 6 if first_marks < last_marks else 3

    used = set()
    for r in range(height - 2):
        for c in range(width - 2):
            # 2. Go through the cells row by row. The first cell that is not background and not
            #    yet part of a piece is the top left cell of the next piece.
            if grid[r][c] == background or (r, c) in used:
                continue
            used.update((y, x) for y in range(r, r + 3) for x in range(c, c + 3))
            # 3. Count how many cells of the mark lie in the first and in the last row of the
            #    piece, and in the first and in the last column.
            # 4. If the first row has more than the last one, the piece belongs to the top. If it
            #    has fewer, it belongs to the bottom, else to the middle. The columns tell left,
            #    right and middle.
            piece = [row[c : c + 3] for row in grid[r : r + 3]]
            top = place(piece[0], piece[2])
            left = place([row[0] for row in piece], [row[2] for row in piece])
            # 5. Draw the piece there.
            for y in range(3):
                for x in range(3):
                    output[top + y][left + x] = piece[y][x]
    result = output
    return result
