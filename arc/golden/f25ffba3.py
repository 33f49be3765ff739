def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. One half of the input is empty, which means that it has only one color.
    3. It is the top half or the bottom half, or else the left half or the right half.
    4. The other half stays the same, and so does a middle row or column between the halves.
    5. The empty half of the output is the other half, mirrored.
    Procedure:
    1. Copy the input.
    2. Take the rows of the top half and of the bottom half.
    3. If one of the two has only one color, set each of its rows to the mirrored row.
    4. Else find out whether the left half has only one color.
    5. If so, mirror the right half to the left in each row, else the left half to the right.
    """
    # 1. Copy the input.
    output = [list(row) for row in grid]
    # 2. Take the rows of the top half and of the bottom half.
    half = len(grid) // 2
    top = [cell for row in grid[:half] for cell in row]
    bottom = [cell for row in grid[len(grid) - half :] for cell in row]
    # 3. If one of the two has only one color, set each of its rows to the mirrored row.
    if len(set(top)) == 1:
        output[:half] = grid[::-1][:half]
    elif len(set(bottom)) == 1:
        output[len(grid) - half :] = grid[:half][::-1]
    else:
        # 4. Else find out whether the left half has only one color.
        half = len(grid[0]) // 2
        left = {cell for row in grid for cell in row[:half]}
        # 5. If so, mirror the right half to the left in each row, else the left half to the right.
        for r, row in enumerate(grid):
            if len(left) == 1:
                output[r] = row[::-1][:half] + row[half:]
            else:
                output[r] = row[: len(row) - half] + row[:half][::-1]
    result = output
    return result
