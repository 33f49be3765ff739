def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. On the background, the most common color, there are 2x2 blocks of one other color. They are
       apart from each other.
    3. The blocks stay the same. Each block gets four new cells, which touch its corners from
       outside.
    4. The new cell is 1 at the top left, 2 at the top right, 3 at the bottom left and 4 at the
       bottom right.
    Procedure:
    1. Find the background: the most common color.
    2. Find the blocks: cells of another color that have background or the border above and to the
       left are the top left cells of the blocks.
    3. One row up and one column left of this cell put 1.
    4. One row up and two columns right of it put 2.
    5. Two rows down and one column left of it put 3.
    6. Two rows down and two columns right of it put 4.
    7. Leave out what lies outside of the grid.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)
    output = [list(row) for row in grid]
    for r in range(height):
        for c in range(width):
            # 2. Find the blocks: cells of another color that have background or the border above
            #    and to the left are the top left cells of the blocks.
            if grid[r][c] == background:
                continue
            if (r > 0 and grid[r - 1][c] != background) or (c > 0 and grid[r][c - 1] != background):
                continue
            # 3. One row up and one column left of this cell put 1.
            # 4. One row up and two columns right of it put 2.
            # 5. Two rows down and one column left of it put 3.
            # 6. Two rows down and two columns right of it put 4.
            corners = [(r - 1, c - 1, 1), (r - 1, c + 2, 2), (r + 2, c - 1, 3), (r + 2, c + 2, 4)]
            # 7. Leave out what lies outside of the grid.
            for y, x, color in corners:
                if 0 <= y < height and 0 <= x < width:
                    output[y][x] = color
    result = output
    return result
