def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The background is the most common color.
    2. The input is small and has a few cells of other colors.
    3. The output is an enlarged copy of the input: each cell becomes a square of one color.
    4. The side of the squares is the number of cells that are not background.
    Procedure:
    1. Find the background: the most common color.
    2. Count the cells that are not background; this is the side of a square.
    3. For each row, make a row in which each cell is there as often as the side says.
    4. Put this row below what is already there, as often as the side says.
    """
    # 1. Find the background: the most common color.
    flat = [cell for row in grid for cell in row]
    background = max(set(flat), key=flat.count)
    # 2. Count the cells that are not background; this is the side of a square.
    side = len(flat) - flat.count(background)
    output = []
    for row in grid:
        # 3. For each row, make a row in which each cell is there as often as the side says.
        wide_row = []
        for cell in row:
            wide_row += [cell] * side
        # 4. Put this row below what is already there, as often as the side says.
        for _ in range(side):
            output.append(wide_row[:])
    result = output
    return result
