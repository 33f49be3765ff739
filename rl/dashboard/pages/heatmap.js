// A heat map on a canvas: cells to look at by mouse, by touch and by keyboard, with the labels of its two axes.
"use strict";

page.heatmap = (() => {
  const { el, plural } = page;
  const AXIS = 34; // pixels below the cells, for the columns' labels and their name

  // rows and columns are keys; cell(row, column) is {shade: 0 to 1, text, facts: function, open: function, say} or null.
  // across names what the columns are; name(row) writes a row; over(pen, place) draws over the cells.
  function draw(holder, { rows, columns, cell, name, across, label, over = null, widest = 120 }) {
    if (!rows.length || !columns.length) return;
    const cells = rows.map((row) => columns.map((column) => cell(row, column)));
    const left = Math.min(150, 18 + Math.max(...rows.map((row) => name(row).length)) * 7.3);
    const room = Math.max(240, (holder.clientWidth || document.getElementById("main").clientWidth - (innerWidth > 640 ? 74 : 46)) - left - 4);
    const wide = Math.max(5, Math.min(widest, Math.floor(room / columns.length)));
    const high = rows.length > 60 ? 9 : rows.length > 24 ? 14 : 24;
    const [width, height] = [left + wide * columns.length + 2, high * rows.length + AXIS];
    const ratio = Math.min(3, devicePixelRatio || 1);
    const canvas = el("canvas.heat", {
      tabindex: 0, role: "application",
      aria: { label: `${label}, ${plural(cells.flat().filter(Boolean).length, "cell")}; arrow keys move, Enter opens`, roledescription: "heat map" },
      style: { width: `${width}px`, height: `${height}px` },
    });
    [canvas.width, canvas.height] = [Math.round(width * ratio), Math.round(height * ratio)];
    holder.append(canvas);
    const pen = canvas.getContext("2d");
    const place = { left, wide, high, column: (key) => columns.indexOf(key), row: (key) => rows.indexOf(key) };
    let cursor = null;
    let tapped = null;

    function paint() {
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      pen.clearRect(0, 0, width, height);
      pen.textBaseline = "middle";
      const [soft, line] = [page.style("--soft"), page.style("--line")];
      const small = `${high < 12 ? 9 : 11.5}px ${page.style("--mono")}`;
      const gap = wide > 8 && high > 10 ? 2 : 1;
      rows.forEach((row, r) => {
        pen.font = small;
        pen.fillStyle = soft;
        pen.textAlign = "left";
        if (high > 8) pen.fillText(name(row).slice(0, 20), 0, r * high + high / 2);
        columns.forEach((_, c) => {
          const here = cells[r][c];
          const inset = here ? 0 : Math.min(wide, high) / 2 - 1;
          const paint = here ? page.chart.heat(here.shade) : line;
          pen.fillStyle = paint;
          pen.fillRect(left + c * wide + inset, r * high + inset, wide - gap - 2 * inset, high - gap - 2 * inset);
          if (!here?.text || wide < 34 || high < 20) return;
          pen.font = `12px ${page.style("--sans")}`;
          pen.textAlign = "center";
          pen.fillStyle = page.chart.ink(paint);
          pen.fillText(here.text, left + c * wide + (wide - gap) / 2, r * high + high / 2 - 0.5);
        });
      });
      pen.font = small;
      pen.fillStyle = soft;
      pen.textAlign = "center";
      const every = Math.max(1, Math.ceil(26 / wide));
      columns.forEach((column, c) => c % every === 0 && pen.fillText(column, left + c * wide + wide / 2, rows.length * high + 9));
      pen.font = `11.5px ${page.style("--sans")}`;
      pen.textAlign = "left";
      pen.fillText(across, left, rows.length * high + 25);
      over?.(pen, place);
      if (!cursor) return;
      pen.lineWidth = 2;
      pen.strokeStyle = page.style("--focus");
      pen.strokeRect(left + cursor[1] * wide - 1, cursor[0] * high, wide, high - 1);
    }

    const at = (event) => {
      const box = canvas.getBoundingClientRect();
      const [r, c] = [Math.floor((event.clientY - box.top) / high), Math.floor((event.clientX - box.left - left) / wide)];
      return r >= 0 && r < rows.length && c >= 0 && c < columns.length ? [r, c] : null;
    };
    const found = (spot) => (spot ? cells[spot[0]][spot[1]] : null);

    function tell(event) {
      paint();
      const here = found(cursor);
      canvas.classList.toggle("hand", Boolean(here?.open));
      if (!here) return page.hideTip();
      const box = canvas.getBoundingClientRect();
      const where = event ? [event.clientX, event.clientY] : [box.left + left + cursor[1] * wide, box.top + cursor[0] * high];
      page.tipAt(where[0], where[1], here.facts());
      document.getElementById("status").textContent = event ? "" : here.say;
    }

    canvas.addEventListener("pointermove", (event) => { cursor = at(event); tell(event); });
    canvas.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "touch") return; // what a finger chose stays to be read
      cursor = null;
      paint();
      page.hideTip();
    });
    canvas.addEventListener("click", (event) => {
      cursor = at(event);
      const here = found(cursor);
      // A finger cannot hover: the first tap tells, and a second one opens.
      const again = tapped && cursor && tapped.join() === cursor.join();
      tapped = cursor;
      if (event.pointerType === "touch" && !again) return tell(event);
      here?.open?.();
    });
    canvas.addEventListener("blur", () => { cursor = null; paint(); page.hideTip(); });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (event.key === "Enter") return found(cursor)?.open?.();
      if (!step) return;
      event.preventDefault();
      const [r, c] = cursor ?? [0, -1];
      cursor = [Math.max(0, Math.min(rows.length - 1, r + step[0])), Math.max(0, Math.min(columns.length - 1, c + step[1]))];
      tell(null);
    });
    paint();
  }

  // What the colours stand for: from one end to the other.
  function key(from, to, { paint = page.chart.heat, steps = [0, 0.25, 0.5, 0.75, 1], words = null } = {}) {
    return el("span.scale.small", { role: "img", aria: { label: words ?? `colours from ${from} to ${to}` } },
      el("span", from), el("span.steps-of", steps.map((v) => el("i", { style: { background: paint(v) } }))), el("span", to));
  }

  return { draw, key };
})();
