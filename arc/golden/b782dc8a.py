def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The grid is a maze: walls of one color, and paths of another color, one cell wide.
    3. On a path there is the only cell of a third color, the source. There is at least one path
       cell next to it by side, and all of them have a fourth color.
    4. In the output the two colors have spread from there along all connected paths, in turns:
       path cells at an even distance from the source, measured along the paths, have its color,
       the others have the fourth color. Paths that are not connected with it do not change.
    Procedure:
    1. Find the two rarest colors.
    2. Find the source: a cell whose color occurs once and is one of the two, and whose neighbors by
       side have, besides the other rare color, at most one color.
    3. This remaining color is the wall. If there is none, the wall is the color of the source's
       diagonal neighbors.
    4. Start at the source. From each cell reached, go to the neighbors by side that are not wall.
    5. Give each new cell the color, of the two, that the cell before does not have.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the two rarest colors.
    cells = [value for row in grid for value in row]
    rare = sorted(set(cells), key=cells.count)[:2]
    def neighbors(r, c):
        near = [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]
        return [(nr, nc) for nr, nc in near if 0 <= nr < height and 0 <= nc < width]
    # 2. Find the source: a cell whose color occurs once and is one of the two, and whose neighbors
    # by side have, besides the other rare color, at most one color.
    source = None
    for row in range(height):
        for column in range(width):
            color = grid[row][column]
            others = set(grid[r][c] for r, c in neighbors(row, column)) - set(rare)
            if color not in rare or cells.count(color) != 1 or len(others) > 1:
                continue
            if source is None:
                source = (row, column)
                # 3. This remaining color is the wall. If there is none, the wall is the color of
                # the source's diagonal neighbors.
                for r in range(max(row - 1, 0), min(row + 2, height)):
                    for c in range(max(column - 1, 0), min(column + 2, width)):
                        if not others and grid[r][c] not in rare:
                            others = {grid[r][c]}
                wall = list(others)[0]
    # 4. Start at the source. From each cell reached, go to the neighbors by side that are not
    # wall.
    output = [list(row) for row in grid]
    reached = [source]
    seen = {source}
    for r, c in reached:
        for nr, nc in neighbors(r, c):
            if grid[nr][nc] != wall and (nr, nc) not in seen:
                seen.add((nr, nc))
                reached.append((nr, nc))
                # 5. Give each new cell the color, of the two, that the cell before does not have.
                output[nr][nc] = rare[0] if output[r][c] == rare[1] else rare[1]
    result = output
    return result
