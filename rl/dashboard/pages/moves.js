// All actions of a run that had a target, by what became of them.
"use strict";

page.moves = (() => {
  const { el, go, missing, fixed, signed, whole, visible } = page;

  async function show(run, at) {
    const all = await page.run.actions(run);
    if (!all || !all.state.length) return [el("section.card.wide", el("p.soft", "This run has no actions whose logprobs were moved."))];
    const kept = new Set(page.run.filtered(run, at));
    const inside = all.state.map((_, i) => i).filter((i) => kept.has(all.state[i]) && !missing(all.target[i]));
    const counts = run.flags.map((_, f) => inside.filter((i) => all.flag[i] === f).length);
    const wanted = run.flags.indexOf(at.verdict);
    const found = inside.filter((i) => wanted < 0 || all.flag[i] === wanted);
    const equal = found.filter((i) => all.trained[i] === all.after[i]).length;
    return [el("section.card.wide", { aria: { label: "Moves" } },
      el("header", el("h2", "Moves"), el("span.soft.small", `${whole(found.length)} logprobs that had a target; trainer and sampler have equal bits in ${whole(equal)}`)),
      el("div.segments", { role: "group", aria: { label: "Show moves that are" } }, run.flags.map((flag, f) =>
        el("button", { aria: { pressed: String(at.verdict === flag) }, tip: page.run.FLAG_WORDS[flag] ?? flag, on: { click: () => go({ verdict: at.verdict === flag ? null : flag }) } }, `${flag} ${whole(counts[f])}`))),
      list(run, all, found, { label: "moves", most: 620 }))];
  }

  // Rows of actions, which lead to their states.
  function list(run, all, found, { label, most }) {
    const { states } = run;
    const made = page.longList({
      label, count: found.length, height: 34, most,
      row: (n) => {
        const i = found[n];
        const state = all.state[i];
        const now = all.after[i];
        return el("a.move-row", { href: page.href(page.run.link(run, state, all.index[i])) },
          el("span.mono", run.problems[states.problem[state]].id),
          el("span.n", `k ${states.k[state]}`), el("span.n.soft", `it. ${states.iteration[state]}`),
          el("span.mono.ltr.word", visible(all.text(all.token[i])).replaceAll("\n", "⏎")),
          el("span.n", `${fixed(all.logprob[i], 3)} → ${fixed(now, 3)}`),
          el("span.n.soft.wide-only", missing(all.target[i]) ? "no target" : `target ${fixed(all.target[i], 3)}`),
          el("span.n.soft.wide-only", `mean ${fixed(all.mean[i])}`),
          el("span.flags", page.run.flagTag(missing(all.flag[i]) ? null : run.flags[all.flag[i]])));
      },
    });
    made.style.height = `${Math.min(most, Math.max(34, found.length * 34))}px`;
    return made;
  }

  return { show, list };
})();
