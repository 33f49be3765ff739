def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The input has some diagonals of color on the background 0.
    3. The output is full of parallel diagonals, without 0.
    4. The colors of the diagonals repeat in a fixed order. The period is the number of diagonals
       after which it starts again. The input shows each diagonal of a period at least once.
    5. If the diagonals go up to the right, the sum of row and column is the same for all cells of a
       diagonal. If they go down to the right, it is the column minus the row.
    Procedure:
    1. Try the periods from 1 upward, and for each both directions of the diagonals.
    2. For each colored cell compute its number: row plus column, or column minus row. Divide it by
       the period: the rest tells the place of its color in the order.
    3. The period and direction are right if each place gets exactly one color. Take the first ones
       that are right.
    4. Color each cell of the output with the color of its place.
    """
    height = len(grid)
    width = len(grid[0])

    def place(r, c, period, sign):
        return (c + sign * r) % period

    right = []
    # 1. Try the periods from 1 upward, and for each both directions of the diagonals.
    for period in range(1, height + width):
        for sign in (1, -1):
            # 2. For each colored cell compute its number: row plus column, or column minus row.
            #    Divide it by the period: the rest tells the place of its color in the order.
            order = [set() for i in range(period)]
            for r in range(height):
                for c in range(width):
                    if grid[r][c] != 0:
                        order[place(r, c, period, sign)].add(grid[r][c])
            # 3. The period and direction are right if each place gets exactly one color. Take the
            #    first ones that are right.
            if all(len(colors) == 1 for colors in order):
                right.append((period, sign, [min(colors) for colors in order]))
    period, sign, order = right[0]
    # 4. Color each cell of the output with the color of its place.
    output = [[order[place(r, c, period, sign)] for c in range(width)] for r in range(height)]
    result = output
    return result
