// Grids of cells in ARC's colors: drawn on a canvas, said in words, compared.
"use strict";

page.grid = (() => {
  const { el } = page;
  const PALETTE = [
    "#000000", "#0074d9", "#ff4136", "#2ecc40", "#ffdc00",
    "#aaaaaa", "#f012be", "#ff851b", "#7fdbff", "#870c25",
  ];
  const NAMES = ["black", "blue", "red", "green", "yellow", "grey", "magenta", "orange", "light blue", "maroon"];
  // On these a black digit is read better than a white one.
  const PALE = new Set([3, 4, 5, 7, 8]);

  // Whether a value can be drawn: rows of colors, and not so many that no screen holds them.
  const isColor = (cell) => Number.isInteger(cell) && cell >= 0 && cell <= 9;
  const isRow = (row) => Array.isArray(row) && row.length <= 64 && row.every(isColor);
  const isGrid = (value) => Array.isArray(value) && value.length > 0 && value.length <= 64 && value.every(isRow);

  // Reads a grid that is text: a digit a cell, rows joined by "/".
  const read = (text) => (text === "" ? [] : text.split("/").map((row) => [...row].map(Number)));

  const width = (grid) => Math.max(1, ...grid.map((row) => row.length));

  // ---------------------------------------------------------------- drawing

  // Device pixels of the lines between cells of so many, and around the grid; none where they would drown the colors.
  const line = (cell) => (cell < (devicePixelRatio > 1 ? 7 : 5) ? 0 : Math.max(1, Math.round(cell / 24)));

  // Makes a canvas as large as a grid with cells of so many device pixels; returns its pen.
  function fit(canvas, rows, columns, cell) {
    const ratio = devicePixelRatio || 1;
    canvas.width = columns * cell + line(cell);
    canvas.height = rows * cell + line(cell);
    canvas.style.width = `${canvas.width / ratio}px`;
    canvas.style.height = `${canvas.height / ratio}px`;
    return canvas.getContext("2d");
  }

  // Draws cells over a ground of lines: fill(row, column) is a color, over(row, column, left, top, side) draws on it.
  function cells(pen, rows, columns, x, y, cell, ground, fill, over) {
    const gap = line(cell);
    pen.fillStyle = ground;
    pen.fillRect(x, y, columns * cell + gap, rows * cell + gap);
    for (let r = 0; r < rows; r += 1) {
      for (let c = 0; c < columns; c += 1) {
        const [left, top, side] = [x + c * cell + gap, y + r * cell + gap, cell - gap];
        pen.fillStyle = fill(r, c);
        pen.fillRect(left, top, side, side);
        over?.(r, c, left, top, side);
      }
    }
  }

  // Draws a grid at (x, y), `cell` device pixels a cell; cells that differ from `expected` have a ring.
  function paint(pen, grid, x, y, cell, { digits = false, expected = null } = {}) {
    const over = (r, c, left, top, side) => {
      if (expected && expected[r]?.[c] !== grid[r][c]) ring(pen, left, top, side);
      if (digits && cell >= 10) digit(pen, grid[r][c], left, top, side);
    };
    const ground = "#555555";
    cells(pen, grid.length, width(grid), x, y, cell, ground, (r, c) => PALETTE[grid[r][c]] ?? ground, over);
  }

  // White and black, so that it is seen on each color.
  function ring(pen, left, top, side) {
    pen.lineWidth = Math.max(1, Math.round(side / 9));
    for (const [color, inset] of [["#ffffff", 0.5], ["#000000", 1.5]]) {
      const by = pen.lineWidth * inset;
      pen.strokeStyle = color;
      pen.strokeRect(left + by, top + by, side - 2 * by, side - 2 * by);
    }
  }

  function digit(pen, value, left, top, side) {
    pen.fillStyle = PALE.has(value) ? "#000000" : "#ffffff";
    pen.font = `${Math.round(side * 0.6)}px ui-monospace, "DejaVu Sans Mono", monospace`;
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.fillText(value, left + side / 2, top + side * 0.54);
  }

  // A canvas that is at most `most` pixels wide and high, and its cells' size.
  function sheet(rows, columns, most, label) {
    const canvas = el("canvas.grid", { role: "img", aria: { label } });
    const cell = Math.round(Math.max(3, Math.min(24, Math.floor(most / Math.max(rows, columns)))) * (devicePixelRatio || 1));
    return [canvas, fit(canvas, rows, columns, cell), cell];
  }

  function draw(grid, { most = 180, label = "grid" } = {}) {
    const [rows, columns] = [grid.length, width(grid)];
    const words = grid.map((row) => row.join(" ")).join("; ");
    const [canvas, pen, cell] = sheet(rows, columns, most, `${label}, ${rows} by ${columns}: ${words}`);
    paint(pen, grid, 0, 0, cell);
    return canvas;
  }

  // Where `produced` is not `expected`: right cells are pale, wrong ones have their color, missing ones a frame.
  function difference(expected, produced, { most = 180 } = {}) {
    const rows = Math.max(expected.length, produced.length);
    const columns = Math.max(width(expected), width(produced));
    const same = (r, c) => expected[r]?.[c] === produced[r]?.[c];
    let differ = 0;
    for (let r = 0; r < rows; r += 1) for (let c = 0; c < columns; c += 1) differ += same(r, c) ? 0 : 1;
    const [canvas, pen, cell] = sheet(rows, columns, most, `difference: ${differ} of ${rows * columns} cells differ`);
    const [right, lines, bad] = [page.style("--same"), page.style("--line"), page.style("--bad")];
    const inner = (r, c, left, top, side) => {
      const value = produced[r]?.[c];
      if (same(r, c) || value === undefined || side < 6) return;
      const frame = Math.max(2, Math.round(side / 9));
      pen.fillStyle = PALETTE[value];
      pen.fillRect(left + frame, top + frame, side - 2 * frame, side - 2 * frame);
    };
    cells(pen, rows, columns, 0, 0, cell, lines, (r, c) => (same(r, c) ? right : bad), inner);
    return { canvas, wrong: differ, cells: rows * columns };
  }

  // ---------------------------------------------------------------- words

  // Says a grid: its size, and how many cells of each color.
  function say(grid) {
    const counts = new Map();
    for (const value of grid.flat()) counts.set(value, (counts.get(value) ?? 0) + 1);
    const words = [...counts].sort(([a], [b]) => a - b).map(([value, count]) => `${count} ${NAMES[value]}`);
    return `${grid.length} by ${width(grid)}: ${words.join(", ")}`;
  }

  // Counts the cells that are not as expected; -1 for another size.
  function wrong(grid, expected) {
    if (grid.length !== expected.length || width(grid) !== width(expected)) return -1;
    const due = expected.flat();
    return grid.flat().filter((value, i) => value !== due[i]).length;
  }

  return { PALETTE, NAMES, isGrid, read, fit, paint, draw, difference, say, wrong };
})();
