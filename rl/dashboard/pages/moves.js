// All actions of a run that had a target, by what became of them.
"use strict";

page.moves = (() => {
  const { el, go, missing, fixed, whole, visible } = page;

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
      el("header", el("h2", "Moves"), el("span.soft.small", `${page.plural(found.length, "logprob")} that had a target; trainer's and sampler's bits are equal in ${equal === found.length ? "all" : whole(equal)}`)),
      el("div.segments", { role: "group", aria: { label: "Show moves that are" } }, run.flags.map((flag, f) =>
        el("button", { aria: { pressed: String(at.verdict === flag) }, tip: page.run.FLAG_WORDS[flag] ?? flag, on: { click: () => go({ verdict: at.verdict === flag ? null : flag }) } }, `${flag} ${whole(counts[f])}`))),
      found.length ? list(run, all, found, { label: "moves", most: 646 }) : el("p.soft", "No move is left by the filter."))];
  }

  const HEAD = [
    ["problem", "The task."], ["k", "Tokens of the known solution that were cut off."], ["iteration", "When it was moved."],
    ["token", "The action: the next token in that state."],
    ["logprob", "In the sampler, before the update and after it, in nats."], ["target", "The logprob that the update aimed at."],
    ["reward", "Mean reward of the token's rollouts."], ["became", "What became of the move."],
  ];

  // Rows of actions, which lead to their states.
  function list(run, all, found, { label, most }) {
    const { states } = run;
    const made = page.longList({
      label, count: found.length, height: page.run.rowHeight(), most,
      row: (n) => {
        const i = found[n];
        const state = all.state[i];
        return el("a.row.move-row", { href: page.href(page.run.link(run, state, all.index[i])) },
          el("span.mono", visible(run.problems[states.problem[state]].id)),
          el("span.n", el("span.unit", "k "), whole(states.k[state])), el("span.n.soft", el("span.unit", "iteration "), whole(states.iteration[state])),
          el("span.mono.ltr.word", visible(all.text(all.token[i])).replaceAll("\n", "⏎")),
          el("span.n", missing(all.after[i]) ? fixed(all.logprob[i], 3) : `${fixed(all.logprob[i], 3)} → ${fixed(all.after[i], 3)}`),
          el("span.n.soft", el("span.unit", "target "), missing(all.target[i]) ? "–" : fixed(all.target[i], 3)),
          el("span.n.soft", fixed(all.mean[i])),
          el("span.flags", page.run.flagTag(missing(all.flag[i]) ? null : run.flags[all.flag[i]])));
      },
    });
    return [page.run.rowHead("move-row", HEAD), made];
  }

  return { show, list };
})();
