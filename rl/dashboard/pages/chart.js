// Curves with a crosshair and zoom; heat-map colours.
"use strict";

page.chart = (() => {
  const { el, missing, short } = page;
  const COLOURS = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c7", "--c8"];

  // A curve card: series are {name, x, y}, with {low, high} where there is a band; `range` is [from, to] or null, and
  // zoom(range) is told a new one. about(x) heads what is told of a place, and pick(x) is called for one that is chosen.
  function curves({
    title, series, range = null, zoom = null, pick = null, about = (x) => `iteration ${x}`, digits = short, height = 120,
    note = "", zero = false, stacked = false, label = short, marked = null, width = 340,
  }) {
    const used = series.map((one, place) => ({ ...one, colour: `var(${COLOURS[place % COLOURS.length]})` })).filter((one) => one.y.some((y) => !missing(y)));
    const [left, bottom, top] = [44, 20, 8];
    const xs = used.flatMap((one) => one.x);
    const [x0, x1] = range ?? [Math.min(...xs), Math.max(...xs)];
    const inside = (x) => x >= x0 && x <= x1;
    const totals = stacked ? stack(used) : used.map((one) => one.y);
    const ys = used.flatMap((one, s) => [...totals[s], ...(one.low ?? []), ...(one.high ?? [])].filter((y, i) => !missing(y) && inside(one.x[i % one.x.length])));
    let [y0, y1] = ys.length ? [Math.min(...ys), Math.max(...ys)] : [0, 1];
    if (zero || stacked) y0 = Math.min(0, y0);
    if (y0 === y1) [y0, y1] = [y0 - (y0 ? Math.abs(y0) * 0.1 : 0), y1 + (y1 ? Math.abs(y1) * 0.1 : 1)];
    const marks = ticks(y0, y1);
    [y0, y1] = [marks[0], marks[marks.length - 1]];
    const px = (x) => left + ((x - x0) / (x1 - x0 || 1)) * (width - left - 8);
    const py = (y) => top + (1 - (y - y0) / (y1 - y0)) * (height - top - bottom);
    const svg = el("svg.plot", {
      viewBox: `0 0 ${width} ${height}`, role: "img", tabindex: 0,
      aria: { label: summary(title, used, digits) },
    });
    for (const y of marks) {
      svg.append(el("line.rule", { x1: left, x2: width - 8, y1: py(y), y2: py(y) }));
      svg.append(el("text.axis", { x: left - 6, y: py(y) + 3.5, "text-anchor": "end" }, tick(y, marks[1] - marks[0], digits)));
    }
    const middle = Math.round((x0 + x1) / 2);
    for (const x of new Set([x0, middle, x1])) {
      if (Number.isFinite(x)) svg.append(el("text.axis", { x: px(x), y: height - 5, "text-anchor": x === x1 && x1 > x0 ? "end" : "middle" }, label(x)));
    }
    for (const one of used.filter((one) => one.low)) {
      const at = one.x.map((x, i) => i).filter((i) => inside(one.x[i]) && !missing(one.low[i]));
      const edge = (ys, order) => order.map((i) => `${px(one.x[i]).toFixed(1)} ${py(ys[i]).toFixed(1)}`).join("L");
      if (at.length) svg.append(el("path.interval", { d: `M${edge(one.high, at)}L${edge(one.low, [...at].reverse())}Z` }));
    }
    if (marked !== null && inside(marked)) svg.append(el("line.marked", { x1: px(marked), x2: px(marked), y1: top, y2: height - bottom }));
    const order = used.map((_, s) => s);
    for (const s of stacked ? order.reverse() : order) svg.append(...line(used[s], totals[s], { px, py, inside, stacked, base: py(y0) }));
    const cross = el("line.cross", { y1: top, y2: height - bottom, visibility: "hidden" });
    const band = el("rect.band", { y: top, height: height - top - bottom, visibility: "hidden" });
    svg.append(band, cross);
    follow(svg, { used, px, x0, x1, left, width, cross, band, zoom, pick, about, digits, title });
    const key = series.length > 1 && used.length
      ? el("ul.key", used.map((one) => el("li", { style: { "--colour": one.colour } }, el("span", one.name), el("strong", digits(latest(one))))))
      : null;
    return el("figure.curve", title ? el("figcaption", { tip: note || null, tabindex: note ? 0 : null },
      el("span.name", title), el("span.last", last(used, digits))) : null, ys.length ? svg : el("p.soft.small", "no numbers yet"), key);
  }

  // Three to five round numbers from below the least to above the most.
  function ticks(least, most) {
    const rough = (most - least) / 3;
    const power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 2.5, 5, 10].find((n) => n * power >= rough * 0.999) * power;
    const [from, to] = [Math.floor(least / step + 1e-9), Math.ceil(most / step - 1e-9)];
    return Array.from({ length: to - from + 1 }, (_, i) => (from + i) * step);
  }

  // A number beside an axis has little room: as many digits as the step needs.
  function tick(y, step, words) {
    if (words === page.percent) return words(y);
    if (Math.abs(y) < step / 1e6) return "0";
    if (step < 1e-3) return Number(y.toPrecision(3)).toExponential().replaceAll("-", "−");
    if (step >= 1e4) return `${page.short(y / 1e3)}k`;
    const digits = Math.max(0, Math.min(4, -Math.floor(Math.log10(step) + 1e-9)));
    return Number(y.toFixed(digits + 1)).toLocaleString("en", { maximumFractionDigits: digits + 1 }).replace("-", "−");
  }

  function stack(used) {
    const sums = used[0]?.x.map(() => 0) ?? [];
    return used.map((one) => one.y.map((y, i) => (sums[i] += y ?? 0)));
  }

  const latest = (one) => one.y.findLast((y) => !missing(y));
  const last = (used, digits) => (used.length === 1 && !used[0].name ? digits(latest(used[0])) : "");

  function summary(title, used, digits) {
    const parts = used.map((one) => {
      const known = one.y.filter((y) => !missing(y));
      return `${one.name}: from ${digits(known[0])} to ${digits(known[known.length - 1])}`;
    });
    return `${title}; ${parts.join("; ")}; arrow keys read values, plus and minus zoom`;
  }

  function line(one, values, { px, py, inside, stacked, base }) {
    const colour = { style: { "--colour": one.colour } };
    const points = one.x.map((x, i) => [x, values[i]]).filter(([x, y]) => !missing(y) && inside(x));
    const path = points.map(([x, y], i) => `${i ? "L" : "M"}${px(x).toFixed(1)} ${py(y).toFixed(1)}`).join("");
    if (stacked && points.length) {
      const [a, b] = [px(points[0][0]), px(points[points.length - 1][0])];
      return [el("path.area", { d: `${path}L${b} ${base}L${a} ${base}Z`, ...colour })];
    }
    const drawn = [el("path.curve-line", { d: path, ...colour })];
    if (points.length <= 40) {
      drawn.push(...points.map(([x, y]) => el("circle.dot", { cx: px(x), cy: py(y), r: 2, ...colour })));
    }
    return drawn;
  }

  function follow(svg, { used, px, x0, x1, left, width, cross, band, zoom, pick, about, digits, title }) {
    const all = [...new Set(used.flatMap((one) => one.x))].filter((x) => x >= x0 && x <= x1).sort((a, b) => a - b);
    let [here, start] = [-1, null];
    const xOf = (event) => {
      const box = svg.getBoundingClientRect();
      const at = ((event.clientX - box.left) / box.width) * width;
      return x0 + ((at - left) / (width - left - 8)) * (x1 - x0);
    };
    const nearest = (x) => all.reduce((best, one, i) => (Math.abs(one - x) < Math.abs(all[best] - x) ? i : best), 0);
    function show(i, event) {
      if (!all.length) return;
      here = Math.max(0, Math.min(all.length - 1, i));
      const x = all[here];
      cross.setAttribute("x1", px(x));
      cross.setAttribute("x2", px(x));
      cross.setAttribute("visibility", "visible");
      const rows = used.map((one) => [one.name, one.y[one.x.indexOf(x)]]).filter(([, y]) => !missing(y));
      const box = svg.getBoundingClientRect();
      const at = event ? [event.clientX, event.clientY] : [box.left + (px(x) / width) * box.width, box.top + 20];
      page.tipAt(at[0], at[1], [el("strong", about(x)), page.facts(rows.map(([name, y]) => [name || title, digits(y)]))]);
    }
    function hide() {
      cross.setAttribute("visibility", "hidden");
      band.setAttribute("visibility", "hidden");
      start = null;
      page.hideTip();
    }
    svg.addEventListener("pointermove", (event) => {
      show(nearest(xOf(event)), event);
      if (start === null || !zoom) return;
      const [a, b] = [px(start), px(xOf(event))].sort((p, q) => p - q);
      band.setAttribute("x", a);
      band.setAttribute("width", b - a);
      band.setAttribute("visibility", "visible");
    });
    svg.addEventListener("pointerdown", (event) => (start = xOf(event)));
    svg.addEventListener("pointerup", (event) => {
      const ends = [start, xOf(event)].sort((a, b) => a - b);
      if (zoom && start !== null && ends[1] - ends[0] > (x1 - x0) / 50) zoom([Math.ceil(ends[0]), Math.floor(ends[1])]);
      else if (pick && start !== null && all.length) pick(all[nearest(xOf(event))]);
      start = null;
    });
    svg.addEventListener("dblclick", () => zoom?.(null));
    svg.addEventListener("pointerleave", hide);
    svg.addEventListener("blur", hide);
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const middle = all[here] ?? (x0 + x1) / 2;
      if (step) show(here + step);
      else if (event.key === "Enter" && pick && here >= 0) pick(all[here]);
      else if (event.key === "+" && zoom) zoom([Math.ceil(middle - (x1 - x0) / 4), Math.floor(middle + (x1 - x0) / 4)]);
      else if (event.key === "-" && zoom) zoom(null);
      else return;
      event.preventDefault();
    });
  }

  // ---------------------------------------------------------------- colours of numbers

  let scales = null;
  function read() {
    const parse = (name) => page.style(name).match(/[0-9a-f]{2}/gi).map((part) => parseInt(part, 16));
    return Object.fromEntries(["--h0", "--h1", "--h2", "--d0", "--d1", "--d2"].map((name) => [name, parse(name)]));
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => (scales = null));
  const mix = (a, b, t) => `rgb(${a.map((x, i) => Math.round(x + (b[i] - x) * t)).join(" ")})`;

  // 0 to 1, from pale to deep.
  function heat(value) {
    scales ??= read();
    const t = Math.max(0, Math.min(1, value));
    return t < 0.5 ? mix(scales["--h0"], scales["--h1"], 2 * t) : mix(scales["--h1"], scales["--h2"], 2 * t - 1);
  }
  // -1 to 1, by way of nothing.
  function twoSided(value) {
    scales ??= read();
    const t = Math.max(-1, Math.min(1, value));
    return t < 0 ? mix(scales["--d1"], scales["--d0"], -t) : mix(scales["--d1"], scales["--d2"], t);
  }

  // What can be read on such a ground: near black, or white.
  function ink(paint) {
    const [r, g, b] = paint.match(/\d+/g).map((part) => {
      const c = part / 255;
      return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.18 ? "#111" : "#fff";
  }

  return { curves, heat, twoSided, ink };
})();
