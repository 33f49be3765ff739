def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The most common color is the background.
    2. There is one rectangular frame, one cell thick, of one color that is used for nothing else.
    3. The inside of the frame is background.
    4. Outside the frame there is a small pattern of other colors.
    5. The output has the size of the frame, and shows the frame.
    6. Inside it shows the pattern, enlarged so that it just fills the inside.
    Procedure:
    1. Find the background.
    2. For each other color, find the rectangle around its cells. The frame is the color that has
       all the cells of the border of its rectangle and no others; if there are several, it is
       the one with the most cells.
    3. Cut out the smallest rectangle around all cells that are neither background nor frame: the
       pattern.
    4. Divide the inner height and width of the frame by the height and width of the pattern.
    5. Copy the frame, and write into each inner cell the pattern cell that covers it when each
       pattern cell is enlarged by these factors.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [value for row in grid for value in row]
    background = max(set(cells), key=cells.count)
    # 2. For each other color, find the rectangle around its cells. The frame is the color that
    # has all the cells of the border of its rectangle and no others; if there are several, it is
    # the one with the most cells.
    def rectangle(colors):
        places = [(r, c) for r in range(height) for c in range(width) if grid[r][c] in colors]
        rows = [r for r, c in places]
        columns = [c for r, c in places]
        return min(rows), min(columns), max(rows) + 1, max(columns) + 1
    colors = set(cells) - {background}
    frame_color = None
    frame_size = 0
    for color in colors:
        top, left, bottom, right = rectangle({color})
        border = 0
        for r in range(top, bottom):
            for c in range(left, right):
                on_border = r in (top, bottom - 1) or c in (left, right - 1)
                if on_border and grid[r][c] == color:
                    border += 1
        full = 2 * (bottom - top) + 2 * (right - left) - 4
        if border == full == cells.count(color) and full > frame_size:
            frame_color = color
            frame_size = full
    top, left, bottom, right = rectangle({frame_color})
    # 3. Cut out the smallest rectangle around all cells that are neither background nor frame:
    # the pattern.
    p_top, p_left, p_bottom, p_right = rectangle(colors - {frame_color})
    pattern = [grid[r][p_left:p_right] for r in range(p_top, p_bottom)]
    # 4. Divide the inner height and width of the frame by the height and width of the pattern.
    high = (bottom - top - 2) // len(pattern)
    wide = (right - left - 2) // len(pattern[0])
    # 5. Copy the frame, and write into each inner cell the pattern cell that covers it when each
    # pattern cell is enlarged by these factors.
    output = [grid[r][left:right] for r in range(top, bottom)]
    for r in range(len(pattern) * high):
        for c in range(len(pattern[0]) * wide):
            output[r + 1][c + 1] = pattern[r // high][c // wide]
    result = output
    return result
