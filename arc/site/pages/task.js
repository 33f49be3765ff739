// One task: its pairs, its golden solution and what was found of it, siblings.
"use strict";

const task = {
  shown: null,

  async show(state) {
    const { el } = page;
    const place = document.getElementById("task");
    const known = list.byId.get(state.task);
    document.title = `${page.visible(state.task)} \u00b7 ARC tasks`;
    const before = task.shown;
    task.shown = state;
    const same = before?.task === state.task && site.from === state.task;
    if (!same) scrollTo(0, 0);
    task.around(state);
    if (!known) {
      const near = site.near(state.task);
      place.replaceChildren(task.header(state, null), el("main",
        el("section.nothing", el("h2", "There is no task ", el("code", page.visible(state.task.slice(0, 100)))), near.length ? el("h3", "Near it by id") : null),
        el("ul.cards", { aria: { label: "Tasks" } }, cards.gather(near, state))));
      return;
    }
    const record = await page.load(`task/${known.number}`);
    if (task.shown !== state) return;
    if (!record) {
      place.replaceChildren(task.header(state, null), el("main", el("p.message", `The file of task ${page.visible(known.id)} is missing or of another version: write these pages again with `, el("code", "python -m arc.site"), ".")));
      return;
    }
    const focused = document.activeElement?.dataset;
    const name = ["switch", "move", "step"].find((key) => focused?.[key]);
    place.replaceChildren(task.header(state, record), ...task.page(record, known, state));
    task.drawAll(place);
    if (name) place.querySelector(`:is(a, button)[data-${name}="${CSS.escape(focused[name])}"]`)?.focus({ preventScroll: true });
    if (state.step && (!same || before.step !== state.step)) code.reach(state.step);
    // What is likely to be asked next.
    for (const near of [task.next, task.previous]) if (near) page.load(`task/${near.number}`);
  },

  // Finds the tasks before and after this one in the list that the address describes.
  around(state) {
    const tasks = list.order(list.match(list.filter(state)), state.sort);
    const at = tasks.findIndex(({ id }) => id === state.task);
    task.place = at < 0 ? null : `${page.whole(at + 1)} of ${page.whole(tasks.length)}`;
    task.next = tasks[at + 1] ?? null;
    task.previous = tasks[at - 1] ?? null;
  },

  // What stays in the address from one task to the next.
  kept({ digits, outputs, doc, ...state }) {
    return { ...list.filter(state), digits, outputs, doc };
  },

  step(by) {
    const near = by > 0 ? task.next : task.previous;
    if (near) page.go({ ...task.kept(page.get()), task: near.id }, { whole: true });
  },

  toggle(name) {
    page.go({ [name]: page.get()[name] ? null : "1" }, { replace: true });
  },

  keys(state) {
    const [next, previous] = [() => task.step(1), () => task.step(-1)];
    return {
      j: next, ArrowRight: next, k: previous, ArrowLeft: previous,
      Escape: () => page.go(list.filter(state), { whole: true }),
      d: () => task.toggle("digits"), o: () => task.toggle("outputs"),
    };
  },

  header(state, record) {
    const { el } = page;
    const move = (near, words, sign, key) => (near
      ? el("a.round", { href: page.href({ ...task.kept(state), task: near.id }, true), title: `${words} task (${key})`, data: { move: key }, aria: { label: `${words} task, ${page.visible(near.id)}`, keyshortcuts: key } }, sign)
      : el("span.round.off", { aria: { hidden: true } }, sign));
    const copies = record && el("div.copies", { role: "group", aria: { label: "Copy" } }, el("span.soft", { aria: { hidden: true } }, "Copy"),
      el("div.segments", copy.button("JSON", "the task as JSON", () => copy.json(record)), copy.button("Python", "the task as Python", () => copy.python(record)), copy.button("Prompt", "the prompt", () => copy.prompt(record))));
    return el("header.top",
      el("a.back", { href: page.href(list.filter(state), true) }, el("span", { aria: { hidden: true } }, "\u2039 "), "Tasks"),
      record ? el("h1", el("code", page.visible(record.id))) : el("h1", "No such task"), copies,
      el("nav.moves", { aria: { label: "Tasks" } }, move(task.previous, "Previous", "\u2190", "k"), task.place ? el("span.place", task.place) : null, move(task.next, "Next", "\u2192", "j")),
      site.helpButton());
  },

  page(record, known, state) {
    const { el } = page;
    const { golden } = record;
    const siblings = golden?.finding?.siblings ?? [];
    const left = el("div.left", task.pairs(record, state, "train", 0), task.pairs(record, state, "test", record.train.length));
    const right = golden && el("div.right", task.solution(record, state), siblings.length ? task.siblings(siblings) : null);
    return [el("main", task.numbers(record, known), el(golden ? "div.columns" : "div.single", left, right))];
  },

  // Numbers of the task and its solution in one row.
  numbers(record, known) {
    const { el } = page;
    const { golden, tokens } = record;
    const fact = (name, ...words) => el("div", el("dt", name), el("dd", ...words));
    const counted = (name, ...words) => el("div", { tip: `By the tokenizer of ${tokens.of}; the prompt with its chat template.`, tabindex: 0 }, el("dt", name), el("dd", ...words));
    const colors = [...known.colors].map((color) => el("span", { style: { background: page.grid.PALETTE[color] } }));
    const names = [...known.colors].map((color) => page.grid.NAMES[color]).join(", ");
    const grown = [...record.train, ...record.test].flat().map(page.grid.read).filter((grid) => grid.length).reduce((a, b) => (b.length * b[0].length > a.length * a[0].length ? b : a));
    const facts = [
      fact("Set", record.sets.map((set) => el("span.set", set))),
      fact("Pairs", `${record.train.length} train, ${record.test.length} test`),
      fact("Largest grid", el("span", { title: page.plural(known.cells, "cell") }, `${grown.length}\u00d7${grown[0].length}`)),
      fact("Colors", el("span.dots", { role: "img", title: names, aria: { label: names } }, colors)),
    ];
    facts.push(counted("Prompt", page.plural(tokens.prompt, "token")));
    if (golden) facts.push(counted("Solution", page.plural(golden.tokens, "token"), ", ", page.plural(golden.codeLines, "line")));
    return el("dl.numbers", facts, golden ? task.found(golden, fact) : fact("Golden solution", "none yet"));
  },

  // What came out of the solution, and what its check found.
  found(golden, fact) {
    const { el } = page;
    const share = (some, all) => el(some === all ? "span.good" : "span.bad", `${some} of ${all}`);
    const { finding, outputs } = golden;
    const facts = [fact("Pairs right", share(outputs.filter((output) => output === true).length, outputs.length))];
    if (!finding) return [...facts, fact("Check", "not run yet")];
    const kept = finding.kept.filter((name) => name !== "as it is");
    const symmetries = el("div", { tabindex: 0, tip: kept.length ? `The rule holds in grids that are changed by: ${kept.join(", ")}.` : "The rule holds in no grid that is turned or flipped." }, el("dt", "Symmetries"), el("dd", `${kept.length} of 7 kept`));
    const verdict = finding.problems.length ? el("span.bad", page.plural(finding.problems.length, "problem")) : el("span.good", "passed");
    return [...facts, fact("Hidden right", share(finding.hidden_right, finding.hidden)), symmetries, fact("Check", verdict)];
  },

  pairs(record, state, part, first) {
    const { el } = page;
    const title = { train: "Train", test: "Test" }[part];
    const figures = record[part].map(([input, output], i) => {
      const name = `${title} ${i + 1}`;
      const made = record.golden?.outputs[first + i];
      const [given, expected] = [page.grid.read(input), page.grid.read(output)];
      const shown = [task.grid(given, `${name}, input`, "input", state)];
      if (output) shown.push(task.grid(expected, `${name}, output`, "output", state));
      const own = made === true ? expected : page.grid.read(made ?? "");
      const wrong = made && made !== true && output ? page.grid.wrong(own, expected) : 0;
      if (own.length && (wrong || state.outputs || !output)) shown.push(task.grid(own, `${name}, the solution\u2019s output`, "solution", state, output ? expected : null));
      return el("figure.pair", el("figcaption", el("span", name), task.verdict(made, wrong, output)), el("div.grids", shown));
    });
    return el("section", el("div.heading", el("h2", title), part === "train" ? task.switches(record, state) : null), el("div.figures", figures));
  },

  verdict(made, wrong, output) {
    const { el } = page;
    if (made === undefined) return null;
    if (made === "") return el("span.tag.bad", "solution: no output");
    if (!output) return null;
    if (!wrong) return el("span.tag.good", "solution right");
    return el("span.tag.bad", wrong < 0 ? "solution: another size" : `solution: ${page.plural(wrong, "cell")} wrong`);
  },

  switches(record, state) {
    const { el } = page;
    const button = (name, words, key) => el("button", { type: "button", data: { switch: name }, aria: { pressed: Boolean(state[name]), keyshortcuts: key }, on: { click: () => task.toggle(name) } }, words);
    return el("div.segments", button("digits", "Digits", "d"), record.golden ? button("outputs", "Solution\u2019s outputs", "o") : null);
  },

  grid(rows, name, title, state, expected = null) {
    const { el } = page;
    const canvas = el("canvas", { role: "img", aria: { label: `${name}, ${page.grid.say(rows)}` } });
    const at = (event) => {
      const box = canvas.getBoundingClientRect();
      const place = (share, count) => Math.max(0, Math.min(count - 1, Math.floor(share * count)));
      const row = place((event.clientY - box.top) / box.height, rows.length);
      const column = place((event.clientX - box.left) / box.width, rows[0].length);
      const [value, due] = [rows[row][column], expected?.[row]?.[column]];
      const words = expected && due !== value ? `, expected ${due === undefined ? "no cell" : `${due} ${page.grid.NAMES[due]}`}` : "";
      page.tipAt(event.clientX, event.clientY, `row ${row}, column ${column}: ${value} ${page.grid.NAMES[value]}${words}`);
    };
    canvas.addEventListener("pointermove", at);
    canvas.addEventListener("pointerleave", page.hideTip);
    return Object.assign(el("div.one", el("span.size", title, el("span", `${rows.length}\u00d7${rows[0].length}`)), canvas), { paint: { canvas, rows, expected, digits: Boolean(state.digits) } });
  },

  // Draws all grids of a pair to one scale, as large as there is room for.
  drawAll(place) {
    const ratio = devicePixelRatio || 1;
    const rooms = new Map([...place.querySelectorAll(".figures")].map((figures) => [figures, figures.clientWidth]));
    for (const pair of place.querySelectorAll(".grids")) {
      const all = [...pair.children].map(({ paint }) => paint);
      const room = rooms.get(pair.closest(".figures"));
      const columns = Math.max(...all.map(({ rows }) => rows[0].length));
      const high = Math.max(...all.map(({ rows }) => rows.length));
      const share = (count) => (room - 16 * (count - 1)) / count - 2;
      // Three stand in a row where their cells are still seen well.
      const beside = share(all.length) / columns < 8 ? 2 : all.length;
      const [most, largest] = pair.closest(".single") ? [420, 32] : pair.closest(".small") ? [190, 22] : [330, 22];
      const side = Math.min(most, share(beside));
      const cell = Math.floor(Math.max(2, Math.min(largest, side / columns, most / high)) * (ratio > 1 ? 2 : 1)) / (ratio > 1 ? 2 : 1);
      const pixels = Math.round(cell * ratio);
      for (const { canvas, rows, expected, digits } of all) {
        page.grid.paint(page.grid.fit(canvas, rows.length, rows[0].length, pixels), rows, 0, 0, pixels, { digits, expected });
      }
    }
  },

  solution(record, state) {
    const { el } = page;
    const { golden } = record;
    const problems = [golden.error, ...(golden.finding?.problems ?? [])].filter(Boolean);
    return el("section.solution",
      el("div.heading", el("h2", "Golden solution"), golden.kinds.map((kind) => el("span.tag", kind)), el("span.end", copy.button("Copy code", "the code", () => copy.source(record)))),
      problems.length ? el("ul.message", problems.map((text) => el("li", page.visible(text)))) : null,
      code.lists(golden, state), code.block(golden, state));
  },

  siblings(siblings) {
    const { el } = page;
    const figures = siblings.map(([input, output, how], i) => el("figure.pair",
      el("figcaption", el("span.soft", page.visible(how) || "as it is")),
      el("div.grids", task.grid(page.grid.read(input), `Sibling ${i + 1}, input`, "input", {}), task.grid(page.grid.read(output), `Sibling ${i + 1}, output`, "output", {}))));
    return el("section.small", el("div.heading", el("h2", "Siblings"), el("span.soft", "new pairs by the same rule, and how an example was changed")), el("div.figures", figures));
  },
};

addEventListener("resize", () => {
  clearTimeout(task.timer);
  task.timer = setTimeout(() => task.drawAll(document.getElementById("task")), 120);
});
