def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input is one row of cells, some of them colored, the others 0.
    2. The output is a square. Its side is the width of the input times the number of colored cells.
    3. The last row of the output begins with the input.
    4. Each row above shows the same cells, one step farther to the right.
    5. So each colored cell becomes a diagonal line that goes up and right.
    Procedure:
    1. Count the colored cells.
    2. Make an empty square of 0 with the side: width of the input times this number.
    3. Go through the rows from the last one upward and count them from 0. This is the shift.
    4. Draw the colored cells, shifted to the right. Leave out what is outside of the square.
    """
    row = grid[0]
    # 1. Count the colored cells.
    count = len([cell for cell in row if cell != 0])
    # 2. Make an empty square of 0 with the side: width of the input times this number.
    side = len(row) * count
    output = [[0] * side for r in range(side)]
    # 3. Go through the rows from the last one upward and count them from 0. This is the shift.
    for shift in range(side):
        r = side - 1 - shift
        # 4. Draw the colored cells, shifted to the right. Leave out what is outside of the square.
        for c in range(len(row)):
            if row[c] != 0 and c + shift < side:
                output[r][c + shift] = row[c]
    result = output
    return result
