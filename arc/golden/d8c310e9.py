def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size; the background is the most common color.
    2. All cells that are not background are in a rectangular part of the grid, the pattern.
    3. The columns of the pattern are a sequence that repeats, or its rows are, or neither, but
       never both; the last repetition may be incomplete.
    4. If nothing in the pattern repeats, all of it is the sequence, which goes along the longer
       side of the pattern, or from left to right if it is square.
    5. In the output the sequence goes on repeating up to both edges of the grid.
    Procedure:
    1. Find the background: the most common color.
    2. Find the first and the last column with cells that are not background.
    3. Find the period of these columns: the smallest number for which each of them is equal to the
       one that many columns before it, if there is one among them.
    4. Do the steps 2 and 3 for the rows, too.
    5. If the period of the columns is less than their number, or if the period of the rows is not
       less than theirs and there are not fewer columns than rows, take the columns, else the rows.
    6. Make each column (or row) of the grid equal to one from first to last whose distance from it
       is a multiple of the period.
    7. If these were columns, turn them back into rows.
    """
    # 1. Find the background: the most common color.
    flat = [cell for row in grid for cell in row]
    background = max(set(flat), key=flat.count)

    def find_pattern(lines):
        # 2. Find the first and the last column with cells that are not background.
        places = [i for i in range(len(lines)) if set(lines[i]) != {background}]
        first, last = places[0], places[-1]
        # 3. Find the period of these columns: the smallest number for which each of them is equal
        #    to the one that many columns before it, if there is one among them.
        period = 1
        while any(lines[i] != lines[i - period] for i in range(first + period, last + 1)):
            period += 1
        return first, last - first + 1, period

    # 4. Do the steps 2 and 3 for the rows, too.
    columns = [list(column) for column in zip(*grid)]
    first_column, width, column_period = find_pattern(columns)
    first_row, height, row_period = find_pattern(grid)
    # 5. If the period of the columns is less than their number, or if the period of the rows is not
    #    less than theirs and there are not fewer columns than rows, take the columns, else the
    #    rows.
    take_columns = column_period < width or (row_period >= height and width >= height)
    if take_columns:
        lines, first, period = columns, first_column, column_period
    else:
        lines, first, period = grid, first_row, row_period
    # 6. Make each column (or row) of the grid equal to one from first to last whose distance from
    #    it is a multiple of the period.
    output = [lines[first + (i - first) % period][:] for i in range(len(lines))]
    # 7. If these were columns, turn them back into rows.
    if take_columns:
        output = [list(row) for row in zip(*output)]
    result = output
    return result
