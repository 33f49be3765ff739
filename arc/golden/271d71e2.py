def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The background is 6.
    2. There are boxes: rectangles with an outline of 0, filled with cells of 5 and 7. Some boxes
       are full of 7.
    3. A bar of 9 lies along one side of each box. Farther away from the box on the same side there
       is a second bar of 9, the goal. Each bar is one cell thick.
    4. In the output each box and its bar have moved towards the goal.
    5. With each step one cell of 5 in the box becomes 7. The box stops when its bar is at the goal
       or when the box is full of 7.
    6. The box fills up from its front side, line by line. Looking in the direction of motion each
       line is filled from left to right.
    Procedure:
    1. Find the boxes: cells of 0, 5 and 7 that are joined by their sides.
    2. Find the direction in which cells of 9 touch the box and more cells of 9 lie beyond them.
    3. Count the steps from the bar to the goal and the cells of 5. Move by the smaller number.
    4. Sort the cells of 5 and 7 of the box: the front line first, in a line the left end first as
       seen in the direction of motion. The first ones are 7, as many as there were plus one for
       each step. The others are 5.
    5. Remove all boxes and their bars. Draw them again at their new places.
    """
    height = len(grid)
    width = len(grid[0])

    def color_at(r, c):
        return grid[r][c] if 0 <= r < height and 0 <= c < width else 6

    # 1. Find the boxes: cells of 0, 5 and 7 that are joined by their sides.
    seen = set()
    boxes = []
    for start_r in range(height):
        for start_c in range(width):
            cells = []
            stack = [(start_r, start_c)]
            while stack:
                r, c = stack.pop()
                if color_at(r, c) in (0, 5, 7) and (r, c) not in seen:
                    seen.add((r, c))
                    cells.append((r, c))
                    stack += [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]
            if cells:
                boxes.append(cells)
    output = [list(row) for row in grid]
    drawings = []
    for cells in boxes:
        for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1)):
            # 2. Find the direction in which cells of 9 touch the box and more cells of 9 lie
            #    beyond them.
            bar = [(r + down, c + right) for r, c in cells if color_at(r + down, c + right) == 9]
            steps = 0
            if bar:
                r, c = bar[0]
                for distance in range(1, height + width):
                    if steps == 0 and color_at(r + down * distance, c + right * distance) == 9:
                        steps = distance
            if steps == 0:
                continue
            # 3. Count the steps from the bar to the goal and the cells of 5. Move by the smaller
            #    number.
            inside = [(r, c) for r, c in cells if grid[r][c] != 0]
            steps = min(steps, len([place for place in inside if color_at(*place) == 5]))
            # 4. Sort the cells of 5 and 7 of the box: the front line first, in a line the left end
            #    first as seen in the direction of motion. The first ones are 7, as many as there
            #    were plus one for each step. The others are 5.
            full = len([place for place in inside if color_at(*place) == 7]) + steps
            inside.sort(key=lambda p: (-p[0] * down - p[1] * right, p[0] * right - p[1] * down))
            colors = dict.fromkeys(cells, 0)
            for number, place in enumerate(inside):
                colors[place] = 7 if number < full else 5
            for place in bar:
                colors[place] = 9
            # 5. Remove all boxes and their bars. Draw them again at their new places.
            for r, c in colors:
                output[r][c] = 6
                drawings.append((r + down * steps, c + right * steps, colors[(r, c)]))
            break
    for r, c, color in drawings:
        if 0 <= r < height and 0 <= c < width:
            output[r][c] = color
    result = output
    return result
