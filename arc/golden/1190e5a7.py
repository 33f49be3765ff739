def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The output has only one color, the background: the most common color of the input.
    2. In the input, lines of other colors go from edge to edge, horizontal and vertical ones.
    3. A row or column with a line has no cell of the background color, all others have some.
    4. The lines divide the background into rectangular fields.
    5. The output has one cell of the background color for each field, arranged as the fields are.
    Procedure:
    1. Find the background: the most common color.
    2. List the rows that have background: these are not on a horizontal line.
    3. List the columns that have background: these are not on a vertical line.
    4. Count the groups of neighboring rows in the list of rows.
    5. Count the groups of neighboring columns in the list of columns.
    6. Make an output with as many rows and columns as there are groups, all background.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the background: the most common color.
    cells = [cell for row in grid for cell in row]
    background = max(set(cells), key=cells.count)
    # 2. List the rows that have background: these are not on a horizontal line.
    free_rows = [r for r in range(height) if background in grid[r]]
    # 3. List the columns that have background: these are not on a vertical line.
    free_columns = [c for c in range(width) if background in [row[c] for row in grid]]

    def count_groups(places):
        # A group starts where the place before is not in the list.
        return sum(1 for place in places if place - 1 not in places)

    # 4. Count the groups of neighboring rows in the list of rows.
    rows = count_groups(free_rows)
    # 5. Count the groups of neighboring columns in the list of columns.
    columns = count_groups(free_columns)
    # 6. Make an output with as many rows and columns as there are groups, all background.
    result = [[background] * columns for _ in range(rows)]
    return result
