def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The background is the most common color, and the output is a small square.
    2. The input has two objects of one color each.
    3. Moved together, without turning, they fill a square without gap and overlap, in only one way.
    4. The output is this square. Its number of cells is that of both objects together.
    Procedure:
    1. Find the background, and collect the cells of each of the two other colors.
    2. The side of the square is the number whose square is the number of all these cells.
    3. Try all places of each object in the square: move the top left corner of the smallest
       rectangle around it to each cell of the square.
    4. Keep the pair of places in which both objects are inside the square and do not overlap.
    5. Draw the objects there.
    """
    # 1. Find the background, and collect the cells of each of the two other colors.
    flat = [cell for row in grid for cell in row]
    background = max(set(flat), key=flat.count)
    places = {}
    for r in range(len(grid)):
        for c in range(len(grid[0])):
            if grid[r][c] != background:
                places.setdefault(grid[r][c], []).append((r, c))
    first_color, second_color = places
    # 2. The side of the square is the number whose square is the number of all these cells.
    side = 1
    while side * side < len(places[first_color]) + len(places[second_color]):
        side += 1

    def placements(cells):
        # 3. Try all places of each object in the square: move the top left corner of the smallest
        #    rectangle around it to each cell of the square.
        top, left = min(r for r, c in cells), min(c for r, c in cells)
        found = []
        for row in range(side):
            for column in range(side):
                moved = {(r - top + row, c - left + column) for r, c in cells}
                if all(r < side and c < side for r, c in moved):
                    found.append(moved)
        return found

    # 4. Keep the pair of places in which both objects are inside the square and do not overlap.
    for first in placements(places[first_color]):
        for second in placements(places[second_color]):
            if not first & second:
                first_cells = first
    # 5. Draw the objects there.
    output = [[second_color] * side for _ in range(side)]
    for r, c in first_cells:
        output[r][c] = first_color
    result = output
    return result
