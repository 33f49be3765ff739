def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The background is the most common color.
    2. The other cells form one path. It is one cell thick and has parts of several colors.
    3. Each cell of the path touches the next one side by side. A cell at an end of the path has one
       neighbor on the path, the other cells have two.
    4. The path starts at its upper end.
    5. The output is one column: the colors of the cells of the path, from the start to the end.
    Procedure:
    1. Find the background and the cells of the path.
    2. Start with the first cell from the top that has only one neighbor on the path.
    3. Go on to the neighbor that was not visited, until there is none.
    4. Write the colors of the visited cells one below the other.
    """
    # 1. Find the background and the cells of the path.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)
    path = set()
    for r, row in enumerate(grid):
        for c, cell in enumerate(row):
            if cell != background:
                path.add((r, c))

    def neighbors(r: int, c: int) -> list[tuple[int, int]]:
        places = [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]
        return [place for place in places if place in path]

    # 2. Start with the first cell from the top that has only one neighbor on the path.
    start = next(place for place in sorted(path) if len(neighbors(*place)) == 1)
    visited = [start]
    # 3. Go on to the neighbor that was not visited, until there is none.
    for r, c in visited:
        for place in neighbors(r, c):
            if place not in visited:
                visited.append(place)
    # 4. Write the colors of the visited cells one below the other.
    result = [[grid[r][c]] for r, c in visited]
    return result
