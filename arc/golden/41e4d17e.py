def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color.
    3. The input has square frames of one color.
    4. A frame is 5x5: its border has the color, and the 3x3 cells inside are background.
    5. A line of 6 goes through the center of each frame from left to right, another from top to
       bottom, over the whole grid.
    6. The lines color only background cells, so all frames stay the same.
    Procedure:
    1. Find the background.
    2. Look at each 5x5 window: it is a frame if its border has one color that is not background
       and the cells inside are background.
    3. Set all background cells in the middle row and the middle column of a frame to 6.
    """
    size = 5
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    output = [list(row) for row in grid]
    # 2. Look at each 5x5 window: it is a frame if its border has one color that is not background
    #    and the cells inside are background.
    for top in range(height - size + 1):
        for left in range(width - size + 1):
            border = set()
            inside = set()
            for r in range(size):
                for c in range(size):
                    on_border = r in (0, size - 1) or c in (0, size - 1)
                    if on_border:
                        border.add(grid[top + r][left + c])
                    else:
                        inside.add(grid[top + r][left + c])
            if len(border) > 1 or background in border or inside != {background}:
                continue
            # 3. Set all background cells in the middle row and the middle column of a frame to 6.
            for r in range(height):
                for c in range(width):
                    in_middle = r == top + size // 2 or c == left + size // 2
                    if in_middle and grid[r][c] == background:
                        output[r][c] = 6
    result = output
    return result
