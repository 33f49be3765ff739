def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input has three colors: 0, a color of squares and a color of paths. The output is 1x1.
    2. There are two squares of 2x2 cells. Their color is the rarest one: it has no other cells.
    3. A step goes from a cell to the cell above, below, on the left or on the right of it.
    4. The output is the color of paths if one can walk from one square to the other over cells
       that are not 0.
    5. Else the output is 0.
    Procedure:
    1. Find the color of squares, which has 8 cells, and the color of paths.
    2. Start with the first cell of a square.
    3. Add each cell that is not 0 and one step from an added cell, until there is no more.
    4. If all cells of the squares were added, return the color of paths, else 0.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the color of squares, which has 8 cells, and the color of paths.
    cells = [cell for row in grid for cell in row]
    colors = sorted(set(cells) - {0}, key=cells.count)
    square = next(color for color in colors if cells.count(color) == 8)
    path = next(color for color in colors if color != square)
    # 2. Start with the first cell of a square.
    squares = [(r, c) for r in range(height) for c in range(width) if grid[r][c] == square]
    reached = [squares[0]]
    seen = set(reached)
    # 3. Add each cell that is not 0 and touches an added cell, until there is no more.
    for r, c in reached:
        for y, x in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)):
            inside = 0 <= y < height and 0 <= x < width
            if inside and (y, x) not in seen and grid[y][x] != 0:
                seen.add((y, x))
                reached.append((y, x))
    # 4. If all cells of the squares were added, return the color of paths, else 0.
    joined = all(place in seen for place in squares)
    result = [[path]] if joined else [[0]]
    return result
