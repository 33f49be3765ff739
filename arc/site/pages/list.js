// The list of tasks: facets and a search that narrow it, its order, and what it says when nothing is left.
"use strict";

const list = {
  // Cells of the largest grid, as in the tables of arc/README.md.
  sizes: [[1, 48], [49, 99], [100, 168], [169, 299], [300, 499], [500, 900]],
  sorts: { id: "id", cells: "largest grid", lines: "lines of code" },
  // How a filter is said by itself.
  phrases: { solution: (words) => `${words} a golden solution`, size: (words) => `${words} cells` },
  parts: {},
  shown: [],
  scroll: 0,

  build(index) {
    list.index = index;
    list.tasks = index.tasks.map(([id, sets, cells, colors, kinds, lines], number) => ({
      id, number, cells, colors, lines,
      sets: sets.map((set) => index.sets[set][0]),
      kinds: kinds && kinds.map((kind) => index.kinds[kind][0]),
      words: kinds ? kinds.map((kind) => index.kinds[kind][1]).join(" ") : "",
    }));
    list.byId = new Map(list.tasks.map((task) => [task.id, task]));
    list.facets = {
      set: { title: "Set", options: index.sets, has: (task, value) => task.sets.includes(value) },
      solution: {
        title: "Golden solution",
        options: [["yes", "with"], ["no", "without"]],
        has: (task, value) => (task.kinds !== null) === (value === "yes"),
      },
      size: {
        title: "Cells of the largest grid",
        options: list.sizes.map(([low, high]) => [`${low}-${high}`, `${low} to ${high}`]),
        has: (task, value) => {
          const [low, high] = value.split("-").map(Number);
          return low <= task.cells && task.cells <= high;
        },
      },
      kind: { title: "Kind of solution", options: index.kinds, has: (task, value) => task.kinds !== null && task.kinds.includes(value) },
    };
    list.layOut();
  },

  layOut() {
    const { el } = page;
    const parts = list.parts;
    parts.search = el("input", {
      type: "search", id: "search", placeholder: "Id or kind", autocomplete: "off", spellcheck: "false",
      aria: { label: "Search by id or kind", keyshortcuts: "/" },
      on: { input: () => list.change({ q: parts.search.value.trim() }, { replace: true }) },
    });
    parts.count = el("p.count", { role: "status" });
    const sorts = Object.entries(list.sorts).map(([value, words]) => el("option", { value }, words));
    parts.sort = el("select", { on: { change: () => list.change({ sort: parts.sort.value === "id" ? "" : parts.sort.value }) } }, sorts);
    parts.facets = el("div.facets");
    parts.said = el("div.message", { hidden: true });
    parts.none = el("section.nothing", { hidden: true });
    parts.chips = el("ul.chips", { aria: { label: "Filters in use" } });
    parts.used = el("span.tag.info", { hidden: true });
    parts.done = el("button.done", { type: "button", on: { click: () => { parts.panel.open = false; scrollTo(0, 0); } } });
    parts.panel = el("details.panel", el("summary", "Filter", parts.used), parts.facets, parts.done);
    document.getElementById("list").replaceChildren(
      el("header.top", el("h1", el("a", { href: "?" }, "ARC tasks")),
        el("div.search", parts.search, el("kbd", { aria: { hidden: true } }, "/")), site.helpButton()),
      el("div.browse", el("nav", { aria: { label: "Filter" } }, parts.panel),
        el("main", el("div.bar", parts.count, parts.chips, el("label", "Sort by", parts.sort)), parts.said, parts.none, cards.build())));
    // Beside the pictures where there is room, folded above them where there is not.
    const wide = matchMedia("(min-width: 60rem)");
    const open = () => { parts.panel.open = wide.matches; };
    wide.addEventListener("change", open);
    open();
  },

  // The tasks that a state's filter lets through; without one facet, to count what its options would leave.
  match(filter, without = "") {
    const words = (filter.q ?? "").toLowerCase().split(/\s+/).filter(Boolean);
    const tests = Object.entries(list.facets)
      .filter(([name]) => filter[name] && name !== without)
      .map(([name, facet]) => (task) => facet.has(task, filter[name]));
    tests.push((task) => [...(filter.colors ?? "")].every((color) => task.colors.includes(color)));
    tests.push((task) => words.every((word) => task.id.includes(word) || task.words.includes(word)));
    return list.tasks.filter((task) => tests.every((test) => test(task)));
  },

  order(tasks, sort) {
    const by = sort === "cells" ? (task) => task.cells : sort === "lines" ? (task) => task.lines ?? Infinity : null;
    return by ? [...tasks].sort((a, b) => (by(a) === by(b) ? a.number - b.number : by(a) - by(b))) : tasks;
  },

  // The part of a state that makes the list.
  filter(state) {
    const names = [...Object.keys(list.facets), "colors", "q", "sort"];
    return Object.fromEntries(names.filter((name) => state[name]).map((name) => [name, state[name]]));
  },

  change(changes, options = {}) {
    page.go({ ...list.filter(page.get()), ...changes }, { ...options, whole: true });
  },

  // What somebody wrote into the address, to be said back.
  brief(text) {
    return page.visible(text.length > 60 ? `${text.slice(0, 60)}\u2026` : text);
  },

  // What of a state cannot be, in sentences.
  faults(state) {
    const said = [];
    for (const [name, facet] of Object.entries(list.facets)) {
      const values = facet.options.map(([value]) => value);
      if (state[name] && !values.includes(state[name])) said.push(`There is no ${name} \u201c${list.brief(state[name])}\u201d; there are ${values.join(", ")}. `);
    }
    if (state.colors && !/^[0-9]+$/.test(state.colors)) said.push("Colors are digits from 0 to 9. ");
    if (state.sort && !Object.hasOwn(list.sorts, state.sort)) said.push(`Tasks are sorted by ${Object.keys(list.sorts).join(", ")}, and not by \u201c${list.brief(state.sort)}\u201d. `);
    return said;
  },

  show(state) {
    const { el } = page;
    const parts = list.parts;
    document.title = "ARC tasks";
    const filter = list.filter(state);
    list.shown = list.order(list.match(filter), state.sort);
    if (document.activeElement !== parts.search) parts.search.value = state.q ?? "";
    parts.sort.value = Object.hasOwn(list.sorts, state.sort) ? state.sort : "id";
    const [some, all] = [list.shown.length, list.tasks.length];
    parts.count.replaceChildren(el("strong", page.whole(some)), some === all ? " tasks" : ` of ${page.whole(all)} tasks`);
    const used = list.used(filter);
    parts.used.hidden = !used.length;
    parts.used.textContent = used.length;
    parts.done.textContent = `Show ${page.plural(some, "task")}`;
    list.showFacets(filter);
    parts.chips.replaceChildren(...used.map(list.chip), used.length > 1 ? el("li", el("a.all", { href: page.href({ sort: filter.sort }, true) }, "Drop all")) : "");
    const said = list.faults(state);
    parts.said.hidden = !said.length;
    parts.said.replaceChildren(...said);
    parts.none.hidden = some > 0;
    const near = some || !filter.q ? [] : site.near(filter.q);
    parts.none.replaceChildren(...(some ? [] : list.none(filter, used, near)));
    if (near.length) list.shown = near;
    const before = list.listed;
    list.listed = JSON.stringify(filter);
    if (before !== undefined && before !== list.listed) scrollTo(0, 0);
    cards.show(list.shown, filter);
  },

  // What narrows the list: each filter in words, and the state without it.
  used(filter) {
    const found = [];
    if (filter.q) found.push({ words: `\u201c${list.brief(filter.q)}\u201d`, rest: { ...filter, q: null } });
    for (const [name, { options }] of Object.entries(list.facets)) {
      if (!filter[name]) continue;
      const known = options.find(([value]) => value === filter[name])?.[1];
      const words = known ? list.phrases[name]?.(known) ?? known : list.brief(`${name} ${filter[name]}`);
      found.push({ words, rest: { ...filter, [name]: null } });
    }
    for (const color of new Set(filter.colors ?? "")) {
      found.push({ words: page.grid.NAMES[color] ?? page.visible(`color ${color}`), color, rest: { ...filter, colors: filter.colors.replaceAll(color, "") } });
    }
    return found;
  },

  chip({ words, color, rest }) {
    const { el } = page;
    const swatch = page.grid.PALETTE[color];
    return el("li", el("a.chip", { href: page.href(rest, true), aria: { label: `Drop the filter ${words}` } },
      swatch && el("span.dot", { style: { background: swatch } }), words, el("span.cross", { aria: { hidden: true } }, "\u00d7")));
  },

  // What an empty list says: which filter to drop for how many tasks, and whether tasks follow that are near.
  none(filter, used, near) {
    const { el } = page;
    const ways = used.map(({ words, rest }) => [words, rest, list.match(list.filter(rest)).length]).filter(([, , count]) => count);
    return [
      el("h2", "No task is like this"),
      ways.length ? el("ul", ways.map(([words, rest, count]) => el("li", el("a", { href: page.href(rest, true) }, "Without ", el("strong", words)), el("span.soft", page.plural(count, "task"))))) : "",
      ways.length || !used.length ? "" : el("p", el("a", { href: page.href({ sort: filter.sort }, true) }, "Drop all filters")),
      near.length ? el("h3", "Near it by id") : "",
    ];
  },

  showFacets(filter) {
    const { el } = page;
    const sections = Object.entries(list.facets).map(([name, facet]) => {
      const rest = list.match(filter, name);
      const options = facet.options.map(([value, words]) => {
        const on = filter[name] === value;
        const amount = rest.filter((task) => facet.has(task, value)).length;
        return el("a.option", { class: amount || on ? "option" : "option none", href: page.href({ ...filter, [name]: on ? null : value }, true), data: { facet: `${name} ${value}` }, aria: on ? { current: true } : {} },
          el("span", words), el("span.amount", page.whole(amount)));
      });
      return el("section", el("h2", facet.title), el("div.options", options));
    });
    const chosen = filter.colors ?? "";
    const swatches = page.grid.NAMES.map((name, color) => {
      const on = chosen.includes(color);
      const colors = on ? chosen.replaceAll(String(color), "") : [...new Set(chosen + color)].sort().join("");
      return el("a.swatch", { href: page.href({ ...filter, colors }, true), title: name, data: { facet: `colors ${color}` }, aria: { label: name, ...(on ? { current: true } : {}) } },
        el("span", { style: { background: page.grid.PALETTE[color] } }));
    });
    sections.splice(3, 0, el("section", el("h2", "Has these colors"), el("div.swatches", swatches)));
    const focused = document.activeElement?.dataset?.facet;
    list.parts.facets.replaceChildren(...sections);
    if (focused) list.parts.facets.querySelector(`[data-facet="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
  },

  keys(target) {
    const columns = () => cards.measure()[0];
    const inside = target.closest?.(".cards");
    const rows = inside ? { ArrowDown: () => cards.move(columns()), ArrowUp: () => cards.move(-columns()) } : {};
    const [next, previous] = [() => cards.move(1), () => cards.move(-1)];
    return { j: next, ArrowRight: next, k: previous, ArrowLeft: previous, ...rows };
  },

  searchKeys(search) {
    const open = () => list.shown.length && page.go({ ...list.filter(page.get()), task: list.shown[0].id }, { whole: true });
    return { Enter: open, Escape: () => search.blur(), ArrowDown: () => cards.move(1) };
  },
};
