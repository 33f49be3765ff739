def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The middle column is all background. There is one other color.
    2. The numbers of rows and columns of the input are odd.
    3. In each of the four corners of the input there is a window. All windows reach to the middle
       row, and include it. They reach to the middle column, but do not include it.
    4. The output is as large as a window, and it shows the four windows together: a cell is colored
       if it is colored in at least one of them, else it is background.
    Procedure:
    1. Read the background from the middle column.
    2. Make an output of background.
    3. Go through the windows in the four corners.
    4. Copy the colored cells of each window into the output.
    """
    height = (len(grid) + 1) // 2
    width = len(grid[0]) // 2
    # 1. Read the background from the middle column.
    background = grid[0][width]
    # 2. Make an output of background.
    output = [[background] * width for _ in range(height)]
    # 3. Go through the windows in the four corners.
    for top in (0, len(grid) - height):
        for left in (0, len(grid[0]) - width):
            # 4. Copy the colored cells of each window into the output.
            for r in range(height):
                for c in range(width):
                    if grid[top + r][left + c] != background:
                        output[r][c] = grid[top + r][left + c]
    result = output
    return result
