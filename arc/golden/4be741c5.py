def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input is divided into bands of one color each, with ragged borders between them.
    2. Every color has one band.
    3. The bands lie side by side from left to right, or one below the other.
    4. Each band reaches from one edge of the grid to the opposite edge.
    5. The first row has only one color if the bands lie one below the other.
    6. The output has one cell for each band: one row, or one column, in the order of the bands.
    Procedure:
    1. If the first row has several colors, the bands lie side by side, else one below the other.
    2. Go along the first row, or along the first column, and list each new color.
    3. Return the colors as a row if the bands lie side by side, else as a column.
    """
    # 1. If the first row has several colors, the bands lie side by side, else one below the other.
    side_by_side = len(set(grid[0])) > 1
    # 2. Go along the first row, or along the first column, and list each new color.
    line = grid[0] if side_by_side else [row[0] for row in grid]
    colors = []
    for color in line:
        if color not in colors:
            colors.append(color)
    # 3. Return the colors as a row if the bands lie side by side, else as a column.
    result = [colors] if side_by_side else [[color] for color in colors]
    return result
