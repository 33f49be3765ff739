def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. The most common color is the background; the other color forms straight lines.
    3. The lines cut the background into regions of different sizes.
    4. In the output the largest region is filled with 1, and the smallest one with 8.
    5. If several regions are the smallest, all of them are filled; the same holds for the largest.
    6. All other regions and the lines stay as they are.
    Procedure:
    1. Find the background.
    2. Collect the regions: background cells that are connected by their sides.
    3. Find the largest and the smallest number of cells of a region.
    4. Fill the regions of the smallest size with 8, and those of the largest size with 1.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background.
    cells = [value for row in grid for value in row]
    background = max(set(cells), key=cells.count)
    # 2. Collect the regions: background cells that are connected by their sides.
    seen = set()
    regions = []
    for row in range(height):
        for column in range(width):
            if grid[row][column] != background or (row, column) in seen:
                continue
            region = [(row, column)]
            seen.add((row, column))
            for r, c in region:
                for nr, nc in [(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]:
                    if not (0 <= nr < height and 0 <= nc < width) or (nr, nc) in seen:
                        continue
                    if grid[nr][nc] == background:
                        seen.add((nr, nc))
                        region.append((nr, nc))
            regions.append(region)
    # 3. Find the largest and the smallest number of cells of a region.
    sizes = [len(region) for region in regions]
    # 4. Fill the regions of the smallest size with 8, and those of the largest size with 1.
    output = [list(row) for row in grid]
    for region in regions:
        for r, c in region:
            if len(region) == min(sizes):
                output[r][c] = 8
            if len(region) == max(sizes):
                output[r][c] = 1
    result = output
    return result
