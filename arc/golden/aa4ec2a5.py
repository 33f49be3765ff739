def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The background is the most common color, and the other cells form figures of one color.
    3. In the output each figure has a ring of 2: all background cells outside of it that touch it,
       side by side or corner to corner.
    4. Some figures have a hole: background from which one cannot walk to the border of the grid
       over background, with steps up, down, left and right.
    5. A hole becomes 6, and its figure becomes 8.
    6. Figures without a hole keep their color.
    Procedure:
    1. Find the background.
    2. Mark the background outside: start from the border of the grid and go on to each background
       cell next to a marked cell.
    3. Set the marked cells that touch a figure to 2.
    4. Set the background cells without a mark to 6. They are the holes.
    5. Set all cells of a figure that touch a hole to 8, and go on through the whole figure.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [cell for row in grid for cell in row]
    background = max(cells, key=cells.count)

    def sides(r: int, c: int) -> list[tuple[int, int]]:
        places = [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]
        return [(y, x) for y, x in places if 0 <= y < height and 0 <= x < width]

    def spread(places: list[tuple[int, int]], on_background: bool) -> set[tuple[int, int]]:
        reached = list(places)
        seen = set(places)
        for r, c in reached:
            for y, x in sides(r, c):
                if (grid[y][x] == background) == on_background and (y, x) not in seen:
                    seen.add((y, x))
                    reached.append((y, x))
        return seen

    # 2. Mark the background outside: start from the border of the grid and go on to each
    #    background cell next to a marked cell.
    everywhere = [(r, c) for r in range(height) for c in range(width)]
    empty = [(r, c) for r, c in everywhere if grid[r][c] == background]
    marked = spread([(r, c) for r, c in empty if len(sides(r, c)) < 4], True)
    output = [list(row) for row in grid]
    # 3. Set the marked cells that touch a figure to 2.
    for r, c in marked:
        around = [row[max(c - 1, 0) : c + 2] for row in grid[max(r - 1, 0) : r + 2]]
        if any(cell != background for row in around for cell in row):
            output[r][c] = 2
    # 4. Set the background cells without a mark to 6. They are the holes.
    holes = [place for place in empty if place not in marked]
    for r, c in holes:
        output[r][c] = 6
    # 5. Set all cells of a figure that touch a hole to 8, and go on through the whole figure.
    starts = [place for hole in holes for place in sides(*hole) if place not in holes]
    for r, c in spread(starts, False):
        output[r][c] = 8
    result = output
    return result
