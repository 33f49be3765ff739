// Grids as they stand in the data: text, a digit a cell, rows joined by "/". Several on one canvas, or one with digits.
"use strict";

const grids = {
  names: ["black", "blue", "red", "green", "yellow", "grey", "magenta", "orange", "light blue", "maroon"],

  rows(text) {
    return text === "" ? [] : text.split("/").map((row) => [...row].map(Number));
  },

  // Pixels between cells of so many pixels, and around the grid.
  line(cell) {
    return cell >= 5 ? Math.max(1, Math.round(cell / 24)) : 0;
  },

  // Draws at (x, y), `cell` device pixels a cell; cells that differ from `expected` have a ring.
  paint(pen, rows, x, y, cell, { digits = false, expected = null } = {}) {
    const line = grids.line(cell);
    pen.fillStyle = "#555555";
    pen.fillRect(x, y, rows[0].length * cell + line, rows.length * cell + line);
    rows.forEach((row, r) => row.forEach((value, c) => {
      const [left, top, side] = [x + c * cell + line, y + r * cell + line, cell - line];
      pen.fillStyle = page.grid.PALETTE[value];
      pen.fillRect(left, top, side, side);
      if (expected && expected[r]?.[c] !== value) {
        const width = Math.max(1, Math.round(cell / 9));
        pen.lineWidth = width;
        for (const [color, inset] of [["#ffffff", 0.5], ["#000000", 1.5]]) {
          pen.strokeStyle = color;
          pen.strokeRect(left + width * inset, top + width * inset, side - 2 * width * inset, side - 2 * width * inset);
        }
      }
      if (digits && cell >= 10) {
        pen.fillStyle = [3, 4, 5, 7, 8].includes(value) ? "#000000" : "#ffffff";
        pen.font = `${Math.round(cell * 0.58)}px ui-monospace, "DejaVu Sans Mono", monospace`;
        pen.textAlign = "center";
        pen.textBaseline = "middle";
        pen.fillText(value, left + side / 2, top + side / 2 + cell * 0.04);
      }
    }));
  },

  // Says a grid in words: its size, and how many cells of each color.
  say(rows) {
    const counts = new Map();
    for (const value of rows.flat()) counts.set(value, (counts.get(value) ?? 0) + 1);
    const words = [...counts].sort(([a], [b]) => a - b).map(([value, count]) => `${count} ${grids.names[value]}`);
    return `${rows.length} by ${rows[0].length}: ${words.join(", ")}`;
  },

  // Counts the cells that are not as expected; -1 for another size.
  wrong(rows, expected) {
    if (rows.length !== expected.length || rows[0].length !== expected[0].length) return -1;
    const due = expected.flat();
    return rows.flat().filter((value, i) => value !== due[i]).length;
  },
};
