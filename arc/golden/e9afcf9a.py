def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. Each row of the input has only one color.
    3. The first column stays the same, the second column is flipped upside down.
    4. Every second column is flipped upside down, the other columns stay the same.
    Procedure:
    1. Go through the rows, and take the color of each row and of its mirror row.
    2. Alternate the two colors in each row.
    """
    output = []
    # 1. Go through the rows, and take the color of each row and of its mirror row.
    for row, mirror in zip(grid, grid[::-1]):
        a = row[0]
        b = mirror[0]
        # 2. Alternate the two colors in each row.
        output.append([a if c % 2 == 0 else b for c in range(len(row))])
    result = output
    return result
