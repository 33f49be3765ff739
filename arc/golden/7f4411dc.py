def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size; the background is the most common color.
    2. The input has solid rectangles of another color, at least two cells wide and high.
    3. It also has single cells of that color, some of which touch a rectangle.
    4. In the output the rectangles stay and the single cells become background.
    Procedure:
    1. Find the background: the most common color.
    2. Make an output of background.
    3. Go through all squares of 2x2 cells of the input.
    4. If no cell of the square is background, copy its four cells to the output.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    flat = [cell for row in grid for cell in row]
    background = max(set(flat), key=flat.count)
    # 2. Make an output of background.
    output = [[background] * width for _ in range(height)]
    # 3. Go through all squares of 2x2 cells of the input.
    for top in range(height - 1):
        for left in range(width - 1):
            square = [(r, c) for r in (top, top + 1) for c in (left, left + 1)]
            # 4. If no cell of the square is background, copy its four cells to the output.
            if all(grid[r][c] != background for r, c in square):
                for r, c in square:
                    output[r][c] = grid[r][c]
    result = output
    return result
