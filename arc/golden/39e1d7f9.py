def solve(grid: list[list[int]]) -> list[list[int]]:
    """
    Observation:
    1. The input and the output have the same size.
    2. Full lines of one color, one cell thick, cut the grid into rooms of equal size; the rooms
       at the right and the bottom border may be cut off.
    3. Each room has one color; the most common room color is the background. The rooms of other
       colors are called filled.
    4. One group of filled rooms that touch by sides or corners has more than one color: it is the
       pattern, which has a center room with other rooms around it.
    5. All filled rooms outside this group have the color of the pattern's center, which occurs
       once in the pattern.
    6. In the output the whole pattern is drawn around each of these rooms; what would lie outside
       the grid is left out.
    Procedure:
    1. Find the first full row and the first full column; their numbers are the height and the
       width of a room.
    2. Read the color of each room, and take the most common one as the background.
    3. Collect the groups of touching filled rooms.
    4. The group with more than one color is the pattern; the rooms of all others are targets.
    5. Find the center of the pattern: its room that has the color of the targets.
    6. Copy the pattern around each target.
    7. Draw the rooms on a copy of the grid.
    """
    height = len(grid)
    width = len(grid[0])
    # 1. Find the first full row and the first full column; their numbers are the height and the
    # width of a room.
    room_height = [r for r in range(height) if len(set(grid[r])) == 1][0]
    room_width = [c for c in range(width) if len(set(row[c] for row in grid)) == 1][0]
    # 2. Read the color of each room, and take the most common one as the background.
    rooms = {}
    for r in range(0, height, room_height + 1):
        for c in range(0, width, room_width + 1):
            rooms[(r // (room_height + 1), c // (room_width + 1))] = grid[r][c]
    colors = list(rooms.values())
    background = max(set(colors), key=colors.count)
    # 3. Collect the groups of touching filled rooms.
    unseen = [room for room in rooms if rooms[room] != background]
    groups = []
    while unseen:
        group = [unseen.pop(0)]
        for i, j in group:
            for room in list(unseen):
                if abs(room[0] - i) <= 1 and abs(room[1] - j) <= 1:
                    unseen.remove(room)
                    group.append(room)
        groups.append(group)
    # 4. The group with more than one color is the pattern; the rooms of all others are targets.
    pattern = []
    targets = []
    for group in groups:
        if len(set(rooms[room] for room in group)) > 1:
            pattern = group
        else:
            targets += group
    # 5. Find the center of the pattern: its room that has the color of the targets.
    target_colors = [rooms[room] for room in targets]
    centers = [room for room in pattern if rooms[room] in target_colors]
    # 6. Copy the pattern around each target.
    drawn = dict(rooms)
    for i, j in targets:
        for room in pattern:
            place = (i + room[0] - centers[0][0], j + room[1] - centers[0][1])
            if place in drawn:
                drawn[place] = rooms[room]
    # 7. Draw the rooms on a copy of the grid.
    output = [list(row) for row in grid]
    for r in range(height):
        for c in range(width):
            if r % (room_height + 1) < room_height and c % (room_width + 1) < room_width:
                output[r][c] = drawn[(r // (room_height + 1), c // (room_width + 1))]
    result = output
    return result
