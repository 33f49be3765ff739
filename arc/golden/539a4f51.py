def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input is a square, and the output is a square with sides twice as long.
    2. In one corner of the input there is a smaller square without a 0. All other cells are 0. The
       smaller square may also fill the whole input.
    3. The smaller square is made of layers: the cell in the corner of the grid, then the cells
       around it, then the cells around both, and so on. Each layer has one color.
    4. With the corner at the top left, the number of the layer of a cell is the larger one of its
       row and its column, counted from 0.
    5. The output is made of layers around the same corner. Their colors repeat those of the input
       again and again.
    Procedure:
    1. Turn the grid until all its cells have the color of their layer, with the corner at the top
       left.
    2. Read the colors of the layers from the first row, without the zeros at the end.
    3. Make an output with sides twice as long. The layer of a cell is the larger one of its row and
       its column. Give it the color of this layer, and after the last color begin again.
    4. Turn the output back.
    """
    output = grid
    turned = [list(row) for row in grid]
    for turn in range(4):
        # 1. Turn the grid until all its cells have the color of their layer, with the corner at
        #    the top left.
        layered = turned[0][0] != 0
        for r, row in enumerate(turned):
            for c, color in enumerate(row):
                layered = layered and color == turned[0][max(r, c)]
        if layered:
            # 2. Read the colors of the layers from the first row, without the zeros at the end.
            colors = [color for color in turned[0] if color != 0]
            # 3. Make an output with sides twice as long. The layer of a cell is the larger one of
            #    its row and its column. Give it the color of this layer, and after the last color
            #    begin again.
            output = []
            for r in range(2 * len(grid)):
                layers = [max(r, c) for c in range(2 * len(grid))]
                output.append([colors[layer % len(colors)] for layer in layers])
            # 4. Turn the output back.
            for _ in range((4 - turn) % 4):
                output = [list(row) for row in zip(*output[::-1])]
            break
        turned = [list(row) for row in zip(*turned[::-1])]
    result = output
    return result
