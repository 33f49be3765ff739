def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. On the background, the most common color, there are two single cells of different colors, in
       the same row or in the same column. An even number of cells, at least four, is between them.
    3. From each of them a line in its own color goes towards the other one.
    4. Each line ends in a bracket: a bar across the line, 5 cells long, and at both ends of the bar
       one more cell towards the other bracket.
    5. The tips of the two brackets touch in the middle. The bars have two cells between them.
    Procedure:
    1. Find the background and the two cells.
    2. For each of them find the direction to the other one: down, up, right or left.
    3. The length is half of the number of cells between the two.
    4. Draw a line of one cell less than this length in this direction.
    5. At the end of the line draw the bar: two more cells on both sides of the line.
    6. From both ends of the bar go one cell farther in the direction.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background and the two cells.
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)
    dots = [(r, c) for r in range(height) for c in range(width) if grid[r][c] != background]
    output = [list(row) for row in grid]
    for (r, c), (other_r, other_c) in (dots, dots[::-1]):
        # 2. For each of them find the direction to the other one: down, up, right or left.
        down = (other_r > r) - (other_r < r)
        right = (other_c > c) - (other_c < c)
        # 3. The length is half of the number of cells between the two.
        length = (abs(other_r - r) + abs(other_c - c) - 1) // 2
        # 4. Draw a line of one cell less than this length in this direction.
        places = [(i, 0) for i in range(length)]
        # 5. At the end of the line draw the bar: two more cells on both sides of the line.
        places += [(length - 1, side) for side in (-2, -1, 1, 2)]
        # 6. From both ends of the bar go one cell farther in the direction.
        places += [(length, side) for side in (-2, 2)]
        for ahead, side in places:
            y = r + ahead * down + side * right
            x = c + ahead * right + side * down
            if 0 <= y < height and 0 <= x < width:
                output[y][x] = grid[r][c]
    result = output
    return result
