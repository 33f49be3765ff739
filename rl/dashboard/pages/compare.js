// Two runs beside each other, or two iterations of one: curves, tasks, and one prefix.
"use strict";

page.compare = (() => {
  const { el, go, get, missing, fixed, signed, whole, visible, percent } = page;

  async function show(run, at, runs, open) {
    if (!run.count) return [el("section.card.wide", el("h2", "Compare"), el("p.soft", "There are no states to compare: an atlas has values alone, and a run that has just begun has nothing yet."))];
    const otherName = at.with ?? runs.find((one) => one.name !== run.name)?.name ?? run.name;
    const entry = runs.find((one) => one.name === otherName) ?? runs[0];
    const other = entry.name === run.name ? run : await open(entry);
    if (!other) return [el("section.card.wide", el("p", `The index of ${visible(otherName)} is missing.`))];
    const chooser = el("label.small.end", "with ", el("select", { on: { change: (event) => go({ with: event.target.value, beside: null }) } },
      runs.map((one) => el("option", { value: one.name, selected: one.name === entry.name || null }, visible(one.name === run.name ? `${one.name} itself` : one.name)))));
    const cards = [];
    if (other !== run) cards.push(curves(run, other, at, chooser), tasks(run, other, at));
    cards.push(await prefix(run, other, at, other === run ? chooser : null));
    return cards;
  }

  // The curves of the overview, one for each number, with a line for each run.
  function curves(run, other, at, chooser) {
    const [from, to] = page.run.span(at.iterations);
    const zoom = (span) => go({ iterations: span && span[1] > span[0] ? `${span[0]}-${span[1]}` : null });
    const lines = (one) => new Map(page.overview.plots(one).flatMap((plot) => (plot.stacked ? sum(plot) : plot.series).filter((s) => s.y.some((y) => !missing(y))).map((s) => [s.of, { plot, ...s }])));
    const [a, b] = [lines(run), lines(other)];
    const drawn = [...new Map([...a, ...b])].map(([name, { plot, name: part }]) => page.chart.curves({
      title: part ? `${plot.title}: ${part}` : plot.title, note: plot.note, digits: plot.digits, zero: plot.zero || plot.stacked, zoom,
      range: Number.isFinite(from) ? [from, to] : null,
      series: [[a, run], [b, other]].map(([found, one]) => ({ x: [], y: [], ...found.get(name), name: visible(one.name) })),
    }));
    return el("section.card.wide", { aria: { label: "Curves of both runs" } }, el("header", el("h2", `${visible(run.name)} and ${visible(other.name)}`), el("span.soft.small", "by iteration; drag to zoom"), chooser),
      drawn.length ? el("div.plots", drawn) : el("p.soft", "Neither run has numbers yet."));
  }

  // Parts that are drawn one on top of the other, as their sum.
  const sum = ({ series }) => (series.length ? [{ of: "sum", name: "all", x: series[0].x, y: series[0].x.map((_, i) => series.reduce((all, one) => all + (one.y[i] ?? 0), 0)) }] : []);

  // A table's head, whose words explain themselves.
  const head = (names) => el("thead", el("tr", names.map(([words, note], i) => el(i ? "th.number" : "th", { scope: "col", tip: note ?? null, tabindex: note ? 0 : null }, visible(words)))));

  // The last state reward of each task that both have, and its k.
  function tasks(run, other, at) {
    const last = (one) => {
      const found = new Map();
      for (const i of page.run.filtered(one, at, { ignore: ["redacted"] })) {
        if (one.training[one.states.kind[i]]) found.set(one.problems[one.states.problem[i]].id, i);
      }
      return found;
    };
    const [a, b] = [last(run), last(other)];
    const both = [...a.keys()].filter((id) => b.has(id));
    const shown = both.slice(0, 400);
    const note = both.length > shown.length ? `the first ${shown.length} of ${whole(both.length)} that both runs trained` : "the last state that each run trained";
    if (!both.length) return el("section.card.wide", { aria: { label: "Tasks of both runs" } }, el("h2", "Tasks"), el("p.soft", "The filter leaves no task that both runs trained."));
    return el("section.card.wide", { aria: { label: "Tasks of both runs" } }, el("header", el("h2", "Tasks"), el("span.soft.small", note)),
      el("div.scroll", { tabindex: 0, role: "group", aria: { label: "tasks" } }, el("table",
        head([["task"], [`k, ${run.name}`, "Tokens of the known solution that were cut off."], [`k, ${other.name}`, "Tokens of the known solution that were cut off."], [`reward, ${run.name}`, "State reward when it was trained last."], [`reward, ${other.name}`, "State reward when it was trained last."], ["difference", visible(`Reward of ${other.name} less that of ${run.name}; they may be of different k.`)]]),
        el("tbody", shown.map((id) => {
          const [i, j] = [a.get(id), b.get(id)];
          const [p, q] = [run.states.value[i], other.states.value[j]];
          return el("tr", el("th.mono", { scope: "row" }, el("a", { href: page.href({ problem: id, redacted: run.states.k[i], iteration: null }) }, visible(id))),
            el("td.number", whole(run.states.k[i])), el("td.number", whole(other.states.k[j])), share(p), share(q), change(missing(p) || missing(q) ? null : q - p, 2));
        })))));
  }

  const share = (x, write = fixed) => el("td.number", missing(x) ? "–" : el("span.filled", { style: { "--share": x } }, write(x)));
  const change = (x, digits) => el(`td.number${missing(x) || Math.abs(x) < 10 ** -digits / 2 ? ".soft" : x > 0 ? ".up" : ".down"}`, missing(x) ? "–" : signed(x, digits));

  // Two looks at one prefix.
  async function prefix(run, other, at, chooser) {
    const problem = at.problem ?? run.problems[0]?.id;
    const first = page.run.find(run, { ...at, problem });
    const card = (...content) => el("section.card.wide", { aria: { label: "One prefix" } }, el("header", el("h2", "One prefix"), chooser), content);
    if (first < 0) return card(el("p.soft", "No state of this problem is left."));
    const k = run.states.k[first];
    const second = page.run.find(other, { problem, redacted: k, iteration: at.beside ?? (other === run ? earliest(run, first) : undefined) });
    if (second < 0) return card(el("p.soft", `${visible(other.name)} has not seen ${visible(problem)} with k ${k}.`));
    const [x, y] = await Promise.all([page.run.state(run, first), page.run.state(other, second)]);
    if (!x || !y) return card(el("p.soft", "The file of this state is missing."));
    const rows = merge(x, y);
    const when = (one, i) => `${visible(one.name)}, iteration ${one.states.iteration[i]}`;
    const pick = (one, i, key) => {
      const same = one.states.k.map((_, n) => n).filter((n) => one.states.problem[n] === one.states.problem[i] && one.states.k[n] === k);
      return el("select", { aria: { label: `iteration of ${visible(one.name)}` }, on: { change: (event) => go({ problem, redacted: k, [key]: event.target.value }) } },
        same.map((n) => el("option", { value: one.states.iteration[n], selected: n === i || null }, `${other === run ? "" : `${visible(one.name)}, `}iteration ${one.states.iteration[n]}, ${one.kinds[one.states.kind[n]]}`)));
    };
    return card(el("p.sentence.small", el("span", el("span.mono", visible(problem)), ` without its last ${page.plural(k, "token")}:`), pick(run, first, "iteration"), el("span", "against"), pick(other, second, "beside")),
      el("div.scroll", { tabindex: 0, role: "group", aria: { label: "actions of both" } }, el("table",
        head([["token"], [`probability, ${when(run, first)}`, "Of the policy after the update, where there was one."], [when(other, second), "Of the policy after the update, where there was one."], ["change of logprob", "The second logprob less the first, in nats."], ["mean reward", "Of the token's rollouts in the first look."], ["mean reward there", "Of the token's rollouts in the second look."]]),
        el("tbody", rows.map(({ name, a, b }) => {
          const [p, q] = [a?.logprob_after ?? a?.logprob, b?.logprob_after ?? b?.logprob];
          const chance = (v) => share(missing(v) ? null : Math.exp(v), percent);
          return el("tr", el("th.mono.ltr", { scope: "row" }, name || "∅", (a ?? b).golden ? el("span.gold", "golden") : null), chance(p), chance(q),
            change(missing(p) || missing(q) ? null : q - p, 3), el("td.number", a ? `${fixed(a.mean)} of ${a.trials}` : "–"), el("td.number", b ? `${fixed(b.mean)} of ${b.trials}` : "–"));
        })))),
      el("p.soft.small", `state reward ${fixed(x.value, 3)} against ${fixed(y.value, 3)}; probabilities are those after the update, where there was one`));
  }

  function earliest(run, i) {
    const { states } = run;
    const alike = (n) => states.k[n] === states.k[i] && states.problem[n] === states.problem[i] && states.kind[n] === states.kind[i];
    const first = states.k.findIndex((_, n) => alike(n));
    return String(states.iteration[first]);
  }

  function merge(x, y) {
    const key = (state, action) => page.state.name(state, action);
    const found = new Map();
    for (const a of x.actions) found.set(key(x, a), { name: key(x, a), a });
    for (const b of y.actions) found.set(key(y, b), { ...(found.get(key(y, b)) ?? { name: key(y, b) }), b });
    return [...found.values()].sort((p, q) => ((q.a ?? q.b).mean ?? 0) - ((p.a ?? p.b).mean ?? 0));
  }

  return { show };
})();
