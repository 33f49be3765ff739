def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size. The walls are 7.
    2. The top left corner of the grid is a square list, cut off by a column and a row of 3. It
       holds a few colored cells on 7.
    3. There are some rooms: areas without 7, with some colored cells on 0.
    4. In the output some rooms are filled with 7. The others and the list stay the same.
    5. The filled rooms are those that have all colors of the list.
    Procedure:
    1. The size of the list is the number of cells before the first 3 in the first row. Its colors
       are those of its cells besides 7.
    2. Find the rooms: cells that are not 7, outside of the list with its border of 3, and that are
       joined by their sides.
    3. Find the colors of each room.
    4. If all colors of the list are among them, fill the room with 7.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. The size of the list is the number of cells before the first 3 in the first row. Its colors
    #    are those of its cells besides 7.
    size = grid[0].index(3)
    wanted = {cell for row in grid[:size] for cell in row[:size]} - {7}
    # 2. Find the rooms: cells that are not 7, outside of the list with its border of 3, and that
    #    are joined by their sides.
    seen = {(r, c) for r in range(size + 1) for c in range(size + 1)}
    output = [list(row) for row in grid]
    for start_r in range(height):
        for start_c in range(width):
            cells = []
            stack = [(start_r, start_c)]
            while stack:
                r, c = stack.pop()
                if not (0 <= r < height and 0 <= c < width):
                    continue
                if (r, c) in seen or grid[r][c] == 7:
                    continue
                seen.add((r, c))
                cells.append((r, c))
                stack += [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]
            # 3. Find the colors of each room.
            colors = {grid[r][c] for r, c in cells}
            # 4. If all colors of the list are among them, fill the room with 7.
            if wanted <= colors:
                for r, c in cells:
                    output[r][c] = 7
    result = output
    return result
