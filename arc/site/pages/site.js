// Starts the page: which of list and task the address asks for, keys, help, near matches of unknown ids.
"use strict";

const site = {
  from: null,
  // Kept when what the address asks for is there.
  shown: null,

  show(state) {
    const asked = state.task !== undefined;
    const places = { list: document.getElementById("list"), task: document.getElementById("task") };
    if (asked && !places.list.hidden) list.scroll = scrollY;
    places.list.hidden = asked;
    places.task.hidden = !asked;
    if (asked) site.shown = task.show(state);
    else {
      list.show(state);
      if (site.from !== null) {
        scrollTo(0, list.scroll);
        cards.draw();
        cards.focus(list.byId.get(site.from));
      }
    }
    site.from = asked ? state.task : null;
  },

  // The tasks whose ids are nearest to one that is unknown, by edits.
  near(text) {
    const wanted = text.toLowerCase().trim().slice(0, 40);
    const distance = (other) => {
      let row = Array.from({ length: other.length + 1 }, (_, i) => i);
      for (let i = 1; i <= wanted.length; i += 1) {
        const next = [i];
        for (let j = 1; j <= other.length; j += 1) {
          next[j] = Math.min(row[j] + 1, next[j - 1] + 1, row[j - 1] + (wanted[i - 1] !== other[j - 1]));
        }
        row = next;
      }
      return row[other.length];
    };
    const most = Math.max(2, wanted.length / 2);
    const found = list.tasks.map((task) => [distance(task.id), task]).filter(([edits]) => edits <= most);
    return found.sort(([a, x], [b, y]) => a - b || x.number - y.number).slice(0, 5).map(([, task]) => task);
  },

  help() {
    const { el } = page;
    const dialog = document.getElementById("help");
    const keys = [
      [["j", "\u2192"], "next task"], [["k", "\u2190"], "previous task"], [["\u2193", "\u2191"], "in the list: a row down, up"],
      [["/"], "search"], [["Enter"], "open the task"], [["Esc"], "back to the list"],
      [["d"], "digits in the grids"], [["o"], "the solution\u2019s outputs"], [["?"], "this help"],
    ];
    dialog.replaceChildren(
      el("h2", { id: "help-title" }, "Keys"),
      el("dl.keys", keys.map(([names, words]) => el("div", el("dt", names.map((name) => el("kbd", name))), el("dd", words)))),
      el("p", "A golden solution is a program for a task, with what is seen in its grids and the steps of its rule. All that you see stands in the address: a link shows somebody else the same."),
      el("form", { method: "dialog" }, el("button", { autofocus: true }, "Close")));
    dialog.showModal();
  },

  // The button of the help.
  helpButton() {
    return page.el("button.round", { type: "button", aria: { label: "Keys and help", keyshortcuts: "?" }, on: { click: site.help } }, "?");
  },

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || document.getElementById("help").open) return;
    const state = page.get();
    const asked = state.task !== undefined;
    const target = event.target;
    let keys;
    if (target.id === "search") keys = list.searchKeys(target);
    else if (target.matches?.("input, select, textarea")) keys = {};
    else {
      keys = { ...(asked ? task.keys(state) : list.keys(target)), "?": site.help };
      keys["/"] = () => {
        if (asked) page.go(list.filter(state), { whole: true });
        list.parts.search.focus();
        list.parts.search.select();
      };
    }
    const act = Object.hasOwn(keys, event.key) ? keys[event.key] : null;
    if (!act) return;
    event.preventDefault();
    act();
  },

  async start() {
    history.scrollRestoration = "manual";
    const index = await page.load("index");
    if (!index?.tasks) {
      const place = document.getElementById("list");
      place.hidden = false;
      place.replaceChildren(page.el("p.message", "The list of tasks is missing or of another version: write these pages again with ", page.el("code", "python -m arc.site"), "."));
      return;
    }
    list.build(index);
    page.onChange(site.show);
    addEventListener("keydown", site.key);
    site.show(page.get());
  },
};

site.start();
