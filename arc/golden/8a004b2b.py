def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output is smaller than the input; the background is the most common color.
    2. Four cells of one color, which is found nowhere else, are the corners of a rectangle,
       the frame.
    3. Outside the frame there is a small pattern of several colors.
    4. Inside the frame are rectangular blocks of one color each, all of the same height and width.
    5. They are parts of an enlarged copy of the pattern, in which each cell has become a block.
    6. The blocks inside the frame fit the pattern in one place and one size only.
    7. The output is the frame with the complete enlarged pattern in it, which may cover some of
       the frame's edge cells.
    Procedure:
    1. Find the background, and the corners: the color with exactly four cells, which are the
       corners of the smallest rectangle around them, the largest one if several colors are like
       that.
    2. Cut out the frame, and list its cells that are neither background nor corners.
    3. Cut out the pattern: the smallest rectangle around all cells outside the frame that are not
       background.
    4. Try all heights and widths of a block, from large to small, and all places of the enlarged
       pattern in the frame. It fits if each of its blocks that is not background has either all its
       cells in the list, with the block's color, or none, and if no listed cell is left over.
    5. Draw the enlarged pattern in the first size and place that fits, without its background.
    """
    # 1. Find the background, and the corners: the color with exactly four cells, which are the
    #    corners of the smallest rectangle around them, the largest one if several colors are like
    #    that.
    flat = [cell for row in grid for cell in row]
    background = max(set(flat), key=flat.count)
    places = [(r, c) for r in range(len(grid)) for c in range(len(grid[0]))]
    frames = []
    for color in set(flat):
        cells = [(r, c) for r, c in places if grid[r][c] == color]
        (top, left), (bottom, right) = cells[0], cells[-1]
        if cells == [(top, left), (top, right), (bottom, left), (bottom, right)]:
            if bottom > top and right > left:
                area = (bottom - top + 1) * (right - left + 1)
                frames.append((area, top, left, bottom, right))
    area, top, left, bottom, right = max(frames)
    # 2. Cut out the frame, and list its cells that are neither background nor corners.
    frame = [row[left:right + 1] for row in grid[top:bottom + 1]]
    height, width = len(frame), len(frame[0])
    shown = {}
    for r in range(height):
        for c in range(width):
            if frame[r][c] not in (background, grid[top][left]):
                shown[(r, c)] = frame[r][c]
    # 3. Cut out the pattern: the smallest rectangle around all cells outside the frame that are not
    #    background.
    cells = []
    for r, c in places:
        in_frame = top <= r <= bottom and left <= c <= right
        if grid[r][c] != background and not in_frame:
            cells.append((r, c))
    columns = range(min(c for r, c in cells), max(c for r, c in cells) + 1)
    pattern = [[grid[r][c] for c in columns] for r in range(cells[0][0], cells[-1][0] + 1)]

    def enlarged(block_height, block_width, first_row, first_column):
        # The blocks of the pattern at this place, for each its color and its cells; or nothing if
        # they do not fit.
        blocks = []
        covered = 0
        for i in range(len(pattern)):
            for j in range(len(pattern[0])):
                color = pattern[i][j]
                if color == background:
                    continue
                top, left = first_row + i * block_height, first_column + j * block_width
                rows, columns = range(top, top + block_height), range(left, left + block_width)
                cells = [(r, c) for r in rows for c in columns]
                colors = [shown.get(cell) for cell in cells]
                if set(colors) == {color}:
                    covered += len(cells)
                elif set(colors) != {None}:
                    return []
                blocks.append((color, cells))
        return blocks if covered == len(shown) else []

    # 4. Try all heights and widths of a block, from large to small, and all places of the enlarged
    #    pattern in the frame. It fits if each of its blocks that is not background has either all
    #    its cells in the list, with the block's color, or none, and if no listed cell is left over.
    found = []
    rows, columns = len(pattern), len(pattern[0])
    for block_height in range(height // rows, 0, -1):
        for block_width in range(width // columns, 0, -1):
            for r in range(height - block_height * rows + 1):
                for c in range(width - block_width * columns + 1):
                    found = found or enlarged(block_height, block_width, r, c)
    # 5. Draw the enlarged pattern in the first size and place that fits, without its background.
    output = [row[:] for row in frame]
    for color, cells in found:
        for r, c in cells:
            output[r][c] = color
    result = output
    return result
