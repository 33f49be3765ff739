// A golden solution for reading: observations and procedure as lists, its code, and which lines follow which step.
"use strict";

const code = {
  // Makes the lists. A step is a link that marks its lines, and is marked while the pointer is on them.
  lists(golden, state) {
    const { el } = page;
    const linked = new Set(golden.steps.map(([step]) => step));
    const item = (text, step) => {
      const words = page.visible(text);
      if (!linked.has(step)) return el("li", words);
      const number = String(step + 1);
      const on = state.step === number;
      const mark = (marked) => () => code.mark(step, marked);
      return el("li.linked", el("a.step", {
        href: page.href({ ...state, step: on ? null : number }, true), data: { step: number }, aria: on ? { current: true } : {},
        on: { pointerenter: mark(true), pointerleave: mark(false), focus: mark(true), blur: mark(false) },
      }, words));
    };
    const section = (title, items) => (items.length ? el("section", el("h3", title), el("ol", items)) : null);
    return el("div.lists", section("Observations", golden.observations.map((text) => item(text, -1))), section("Procedure", golden.procedure.map(item)));
  },

  // Makes the code, its docstring folded since the lists say it.
  block(golden, state) {
    const { el } = page;
    const [begin, end] = golden.docstring;
    const open = state.doc === "1";
    const stepOf = new Map();
    for (const [step, first, last] of golden.steps) for (let line = first; line < last; line += 1) stepOf.set(line, step);
    const lines = golden.lines.map((pieces, number) => {
      const inside = number >= begin && number < end;
      return inside && !open ? null : code.line(pieces, number, stepOf.get(number), state);
    });
    if (end > begin) {
      const fold = el("button.fold", { type: "button", aria: { expanded: open }, data: { switch: "doc" }, on: { click: () => task.toggle("doc") } }, open ? "fold the docstring" : `docstring, ${end - begin} lines`);
      lines.splice(begin, 0, el("span.line.folded", el("span.at"), el("span.indent", "    "), fold, "\n"));
    }
    return el("div.code", { tabindex: 0, role: "region", aria: { label: "Code of the golden solution" } }, el("pre.ltr", lines));
  },

  line(pieces, number, step, state) {
    const { el } = page;
    const parts = [];
    for (let i = 0; i < pieces.length; i += 2) {
      const words = page.visible(pieces[i + 1]);
      parts.push(pieces[i] ? el(`span.kind-${pieces[i]}`, words) : words);
    }
    const line = el("span.line", { data: { line: number + 1 } }, el("span.at", { aria: { hidden: true } }, String(number + 1)), ...parts, "\n");
    if (step === undefined) return line;
    line.dataset.step = step + 1;
    line.classList.toggle("chosen", state.step === String(step + 1));
    line.addEventListener("pointerenter", () => code.mark(step, true));
    line.addEventListener("pointerleave", () => code.mark(step, false));
    return line;
  },

  mark(step, on) {
    for (const part of document.querySelectorAll(`#task [data-step="${step + 1}"]`)) part.classList.toggle("marked", on);
  },

  // Brings a step's first line into sight.
  reach(step) {
    const line = document.querySelector(`#task .line[data-step="${CSS.escape(step)}"]`);
    if (!line) return;
    const box = line.getBoundingClientRect();
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (box.top < 70 || box.bottom > innerHeight - 40) line.scrollIntoView({ block: "center", behavior: still ? "auto" : "smooth" });
  },
};
