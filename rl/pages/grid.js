// Grids of small whole numbers in ARC's colours, drawn on a canvas, and read out cell by cell.
"use strict";

page.grid = (() => {
  const { el } = page;
  const PALETTE = [
    "#000000", "#0074d9", "#ff4136", "#2ecc40", "#ffdc00",
    "#aaaaaa", "#f012be", "#ff851b", "#7fdbff", "#870c25",
  ];
  const paint = (cell) => PALETTE[cell] ?? "#ffffff";

  const isGrid = (value) => Array.isArray(value) && value.length > 0 && value.every((row) => Array.isArray(row));

  // Draws a grid at most `most` pixels wide and high; cells of `marked` (row, column) get a frame.
  function draw(grid, { most = 180, label = "grid", marked = () => false } = {}) {
    const [rows, columns] = [grid.length, Math.max(1, ...grid.map((row) => row.length))];
    const size = Math.max(3, Math.min(24, Math.floor(most / Math.max(rows, columns))));
    const ratio = Math.min(3, globalThis.devicePixelRatio || 1);
    const words = grid.map((row) => row.join(" ")).join("; ");
    const canvas = el("canvas.grid", {
      role: "img", aria: { label: `${label}, ${rows} by ${columns}: ${words}` },
      style: { width: `${columns * size + 1}px`, height: `${rows * size + 1}px` },
    });
    canvas.width = Math.round((columns * size + 1) * ratio);
    canvas.height = Math.round((rows * size + 1) * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    pen.fillStyle = "#555555";
    pen.fillRect(0, 0, columns * size + 1, rows * size + 1);
    const gap = size >= 5 ? 1 : 0;
    for (let r = 0; r < rows; r += 1) {
      for (let c = 0; c < columns; c += 1) {
        pen.fillStyle = paint(grid[r][c]);
        pen.fillRect(c * size + gap, r * size + gap, size - gap, size - gap);
        if (marked(r, c)) {
          pen.strokeStyle = "#ffffff";
          pen.lineWidth = size > 8 ? 2 : 1;
          pen.strokeRect(c * size + gap + 1, r * size + gap + 1, size - gap - 2, size - gap - 2);
        }
      }
    }
    return canvas;
  }

  // Where `produced` is not `expected`: right cells are pale, wrong ones have their colour, missing ones a frame.
  function difference(expected, produced, { most = 180 } = {}) {
    const rows = Math.max(expected.length, produced.length);
    const columns = Math.max(...expected.map((row) => row.length), ...produced.map((row) => row.length));
    const at = (grid, r, c) => grid[r]?.[c];
    const ratio = Math.min(3, globalThis.devicePixelRatio || 1);
    const size = Math.max(3, Math.min(24, Math.floor(most / Math.max(rows, columns))));
    let wrong = 0;
    const canvas = el("canvas.grid", {
      role: "img", style: { width: `${columns * size + 1}px`, height: `${rows * size + 1}px` },
    });
    canvas.width = Math.round((columns * size + 1) * ratio);
    canvas.height = Math.round((rows * size + 1) * ratio);
    const pen = canvas.getContext("2d");
    pen.scale(ratio, ratio);
    const [right, line, bad] = [page.style("--same"), page.style("--line"), page.style("--bad")];
    pen.fillStyle = line;
    pen.fillRect(0, 0, columns * size + 1, rows * size + 1);
    for (let r = 0; r < rows; r += 1) {
      for (let c = 0; c < columns; c += 1) {
        const [want, got] = [at(expected, r, c), at(produced, r, c)];
        const same = want === got;
        wrong += same ? 0 : 1;
        pen.fillStyle = same ? right : bad;
        pen.fillRect(c * size + 1, r * size + 1, size - 1, size - 1);
        if (!same && got !== undefined && size >= 7) {
          pen.fillStyle = paint(got);
          pen.fillRect(c * size + 3, r * size + 3, size - 5, size - 5);
        }
      }
    }
    canvas.setAttribute("aria-label", `difference: ${wrong} of ${rows * columns} cells differ`);
    return { canvas, wrong, cells: rows * columns };
  }

  return { PALETTE, isGrid, draw, difference };
})();
