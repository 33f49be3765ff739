def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color. There are three single cells of one other color.
    3. The three cells lie on a slanted line. The middle one is halfway between the other two.
    4. In the output there are outlines of rectangles around the middle cell. The two outer cells
       are corners of the first outline.
    5. Each next outline is larger by the same step in each direction. There are as many as the
       grid can show. They are cut off at the border.
    Procedure:
    1. Find the background and the three cells, from top to bottom.
    2. Measure the step in rows and the step in columns from the first cell to the middle cell.
    3. Multiply both steps by 1, 2, 3 and so on. These are the distances of the sides of an outline
       from the middle cell.
    4. Color the cells that are exactly at one of these distances and not beyond the other.
    5. Stop when the distances are larger than the grid.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background and the three cells, from top to bottom.
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)
    dots = [(r, c) for r in range(height) for c in range(width) if grid[r][c] != background]
    # 2. Measure the step in rows and the step in columns from the first cell to the middle cell.
    middle_r, middle_c = dots[1]
    step_r = middle_r - dots[0][0]
    step_c = abs(middle_c - dots[0][1])
    output = [list(row) for row in grid]
    for number in range(1, height + width):
        # 3. Multiply both steps by 1, 2, 3 and so on. These are the distances of the sides of an
        #    outline from the middle cell.
        high = step_r * number
        wide = step_c * number
        # 4. Color the cells that are exactly at one of these distances and not beyond the other.
        # 5. Stop when the distances are larger than the grid.
        for r in range(height):
            for c in range(width):
                down = abs(r - middle_r)
                right = abs(c - middle_c)
                if (down == high and right <= wide) or (right == wide and down <= high):
                    output[r][c] = grid[middle_r][middle_c]
    result = output
    return result
