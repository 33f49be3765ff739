def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input is 3x7 and the output is 3x3.
    2. The middle column of the input is all 5, with a 3x3 half on its left and on its right.
    3. The halves have only the colors 0 and 1, the output has only 0 and 2.
    4. A cell is 2 if it is 1 in both halves, else it is 0.
    Procedure:
    1. Make an output of zeros, 3x3.
    2. Compare each cell of the left half with the same cell of the right half.
    3. If both are 1, set the cell to 2.
    """
    # 1. Make an output of zeros, 3x3.
    output = [[0] * 3 for _ in range(3)]
    # 2. Compare each cell of the left half with the same cell of the right half.
    for r in range(3):
        for c in range(3):
            # 3. If both are 1, set the cell to 2.
            if grid[r][c] == 1 and grid[r][c + 4] == 1:
                output[r][c] = 2
    result = output
    return result
