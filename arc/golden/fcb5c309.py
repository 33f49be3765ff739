def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The most common color is the background; there are two other colors.
    2. One color forms boxes: closed rectangular frames, one cell thick, with a free inside. They
       do not touch each other by sides.
    3. The other color is that of many cells strewn over the grid, the dots. Some lie inside the
       boxes.
    4. The output shows one of the boxes with its inside: the one with the most dots inside.
    5. In the output the box has the color of the dots.
    Procedure:
    1. Find the background.
    2. For each of the other colors, collect the groups of cells that are connected by sides, and
       the rectangle around each group.
    3. The color of the boxes is the one whose every group just covers the border of its rectangle,
       which has at least 3 rows and 3 columns.
    4. Count the cells inside each box that are not background, and take the box with the most.
    5. Cut it out, and give all its cells that are not background the color of the dots.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [value for row in grid for value in row]
    background = max(set(cells), key=cells.count)
    # 2. For each of the other colors, collect the groups of cells that are connected by sides,
    # and the rectangle around each group.
    def find_boxes(color):
        seen = set()
        boxes = []
        for row in range(height):
            for column in range(width):
                if grid[row][column] != color or (row, column) in seen:
                    continue
                group = [(row, column)]
                seen.add((row, column))
                for r, c in group:
                    for nr, nc in [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]:
                        inside = 0 <= nr < height and 0 <= nc < width
                        if inside and grid[nr][nc] == color and (nr, nc) not in seen:
                            seen.add((nr, nc))
                            group.append((nr, nc))
                top = min(r for r, c in group)
                bottom = max(r for r, c in group)
                left = min(c for r, c in group)
                right = max(c for r, c in group)
                # 3. The color of the boxes is the one whose every group just covers the border of
                # its rectangle, which has at least 3 rows and 3 columns.
                for r, c in group:
                    if r not in (top, bottom) and c not in (left, right):
                        return []
                if len(group) != 2 * (bottom - top + right - left):
                    return []
                if bottom - top < 2 or right - left < 2:
                    return []
                boxes.append((top, left, bottom, right))
        return boxes
    best = None
    most = -1
    dot_color = background
    for color in set(cells) - {background}:
        # 4. Count the cells inside each box that are not background, and take the box with the
        # most.
        for top, left, bottom, right in find_boxes(color):
            count = 0
            for r in range(top + 1, bottom):
                for c in range(left + 1, right):
                    if grid[r][c] != background:
                        count += 1
            if count > most:
                most = count
                best = (top, left, bottom, right)
                dot_color = [other for other in set(cells) if other not in (background, color)][0]
    # 5. Cut it out, and give all its cells that are not background the color of the dots.
    top, left, bottom, right = best
    output = []
    for r in range(top, bottom + 1):
        row = grid[r][left:right + 1]
        output.append([background if value == background else dot_color for value in row])
    result = output
    return result
