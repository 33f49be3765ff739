// Pictures of the tasks that are listed. Rows near the screen are there; for the others there is room above and below.
"use strict";

const cards = {
  // Pixels above and below the screen in which rows are there before they are seen.
  margin: 600,
  tasks: [],
  state: {},
  made: new Map(),

  // Shows tasks in a list; each leads to its page, with the rest of a state.
  show(tasks, state) {
    Object.assign(cards, { tasks, state, from: -1, to: -1 });
    cards.draw();
  },

  build() {
    cards.place = page.el("ul.cards", { aria: { label: "Tasks" } });
    addEventListener("scroll", cards.draw, { passive: true });
    new ResizeObserver(() => {
      const width = cards.place.clientWidth;
      if (!width || width === cards.width) return;
      Object.assign(cards, { width, from: -1, to: -1 });
      cards.draw();
      for (const card of cards.place.children) cards.paint(card);
    }).observe(cards.place);
    return cards.place;
  },

  // A grid's columns, and the height of a row with the gap below it.
  measure() {
    const { place, tasks } = cards;
    if (!place.firstChild) place.append(...cards.gather(tasks.slice(0, 1), cards.state));
    const style = getComputedStyle(place);
    return [style.gridTemplateColumns.split(" ").length, place.firstChild.offsetHeight + parseFloat(style.rowGap)];
  },

  draw() {
    const { place, tasks, margin } = cards;
    if (!place.isConnected || !place.clientWidth) return;
    if (!tasks.length) return cards.put([], 0, 0);
    const [columns, step] = cards.measure();
    const rows = Math.ceil(tasks.length / columns);
    const row = (y) => Math.max(0, Math.min(rows, y / step));
    const { top } = place.getBoundingClientRect();
    const [first, last] = [Math.floor(row(-top - margin)), Math.ceil(row(innerHeight - top + margin))];
    const [from, to] = [first * columns, Math.min(tasks.length, last * columns)];
    if (from === cards.from && to === cards.to) return;
    Object.assign(cards, { from, to });
    const near = cards.gather(tasks.slice(from, to), cards.state);
    near.forEach((card, i) => {
      card.setAttribute("aria-setsize", tasks.length);
      card.setAttribute("aria-posinset", from + i + 1);
    });
    cards.put(near, first * step, (rows - last) * step);
  },

  // Puts cards into the list. Those that stay are not moved, since one of them may have the focus.
  put(near, above, below) {
    const { place } = cards;
    const kept = new Set(near);
    for (const card of [...place.children]) {
      if (kept.has(card)) continue;
      card.remove();
      card.picture.width = card.picture.height = 0;
    }
    near.forEach((card, i) => card !== place.children[i] && place.insertBefore(card, place.children[i] ?? null));
    place.style.paddingTop = `${above}px`;
    place.style.paddingBottom = `${below}px`;
  },

  // The cards of some tasks, whose pictures are drawn as soon as they are in the page.
  gather(tasks, state) {
    return tasks.map((task) => {
      if (!cards.made.has(task.id)) cards.made.set(task.id, cards.make(task));
      const card = cards.made.get(task.id);
      card.link.setAttribute("href", page.href({ ...state, task: task.id }, true));
      cards.load(card);
      return card;
    });
  },

  make(task) {
    const { el } = page;
    const picture = el("canvas", { width: 0, height: 0, aria: { hidden: true } });
    const solved = task.kinds === null ? null : el("span.solved", el("span.visually-hidden", "golden solution, "), page.plural(task.lines, "line"));
    const link = el("a", picture, el("span.name", el("code", page.visible(task.id)), solved));
    return Object.assign(el("li", link), { task, picture, link, pair: null });
  },

  async load(card) {
    const { number } = card.task;
    const { pictures } = list.index;
    const pairs = card.pair ?? (await page.load(`pictures-${Math.floor(number / pictures)}`));
    card.classList.toggle("missing", pairs === null);
    card.pair ??= pairs && pairs[number % pictures].map(page.grid.read).filter((rows) => rows.length);
    await null; // until it is in the page
    if (!card.picture.width) cards.paint(card);
  },

  // Draws input and output to one scale, an arrow between them.
  paint({ picture, pair }) {
    const ratio = devicePixelRatio || 1;
    const [width, height] = [picture.clientWidth, picture.clientHeight].map((side) => Math.round(side * ratio));
    if (!width || !pair) return;
    Object.assign(picture, { width, height });
    const pen = picture.getContext("2d");
    const gap = Math.round(26 * ratio);
    const columns = pair.reduce((sum, rows) => sum + rows[0].length, 0);
    const high = Math.max(...pair.map((rows) => rows.length));
    const room = Math.min((width - gap - 4) / columns, (height - 2) / high, 15 * ratio);
    const cell = Math.max(1, Math.floor(room));
    let x = Math.round((width - columns * cell - gap) / 2);
    pair.forEach((rows, i) => {
      if (i) cards.arrow(pen, x + gap / 2, height / 2, ratio);
      x += i ? gap : 0;
      page.grid.paint(pen, rows, x, Math.round((height - rows.length * cell) / 2), cell);
      x += rows[0].length * cell;
    });
  },

  arrow(pen, x, y, ratio) {
    Object.assign(pen, { strokeStyle: "#8a8a85", lineWidth: 1.5 * ratio, lineCap: "round", lineJoin: "round" });
    pen.beginPath();
    for (const [dx, dy, move] of [[-5, 0, true], [5, 0], [1.5, -3.5, true], [5, 0], [1.5, 3.5]]) {
      pen[move ? "moveTo" : "lineTo"](x + dx * ratio, y + dy * ratio);
    }
    pen.stroke();
  },

  // Moves the focus by so many tasks; to the first one in sight where none has it.
  move(by) {
    const focused = document.activeElement.closest?.(".cards li");
    const at = focused ? cards.tasks.indexOf(focused.task) + by : cards.from + [...cards.place.children].findIndex((card) => card.getBoundingClientRect().top >= 60);
    if (cards.tasks[at]) cards.focus(cards.tasks[at]);
  },

  // Gives a task of the list the focus, and brings it into sight.
  focus(task) {
    const at = cards.tasks.indexOf(task);
    if (at < 0) return;
    if (at < cards.from || at >= cards.to) {
      const [columns, step] = cards.measure();
      scrollBy(0, cards.place.getBoundingClientRect().top + Math.floor(at / columns) * step - innerHeight / 2);
      cards.draw();
    }
    const { link } = cards.made.get(task.id);
    link.focus({ preventScroll: true });
    link.scrollIntoView({ block: "nearest" });
  },
};
