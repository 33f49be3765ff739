// Two runs beside each other, or two iterations of one: curves, tasks, and one prefix.
"use strict";

page.compare = (() => {
  const { el, go, get, missing, fixed, signed, whole, visible, percent } = page;

  async function show(run, at, runs, open) {
    const otherName = at.with ?? runs.find((one) => one.name !== run.name)?.name ?? run.name;
    const entry = runs.find((one) => one.name === otherName) ?? runs[0];
    const other = entry.name === run.name ? run : await open(entry);
    if (!other) return [el("section.card.wide", el("p", `The index of ${visible(otherName)} is missing.`))];
    const chooser = el("label.small.end", "with ", el("select", { on: { change: (event) => go({ with: event.target.value, beside: null }) } },
      runs.map((one) => el("option", { value: one.name, selected: one.name === entry.name || null }, one.name === run.name ? `${one.name} itself` : one.name))));
    const cards = [];
    if (other !== run) cards.push(curves(run, other, at, chooser), tasks(run, other, chooser));
    cards.push(await prefix(run, other, at, other === run ? chooser : null));
    return cards;
  }

  function curves(run, other, at, chooser) {
    const names = ["state_reward", "evaluation/trained", "evaluation/held out", "k", "moves_confirmed", "drift", "evaluation/drift", "rollouts"];
    const line = (one, name, as) => ({ name: as, x: one.metrics.iteration, y: one.metrics.values[one.metrics.names.indexOf(name)] ?? [] });
    const shown = names.filter((name) => [run, other].some((one) => one.metrics.names.includes(name)));
    const [from, to] = page.run.span(at.iterations);
    const zoom = (span) => go({ iterations: span && span[1] > span[0] ? `${span[0]}-${span[1]}` : null });
    return el("section.card.wide", { aria: { label: "Curves of both runs" } }, el("header", el("h2", `${visible(run.name)} and ${visible(other.name)}`), chooser),
      el("div.plots", shown.map((name) => page.chart.curves({ title: name.replaceAll("_", " "), series: [line(run, name, run.name), line(other, name, other.name)], range: Number.isFinite(from) ? [from, to] : null, zoom }))));
  }

  // The last state reward of each task that both have, and its k.
  function tasks(run, other) {
    const last = (one) => {
      const found = new Map();
      one.states.k.forEach((k, i) => {
        if (one.training[one.states.kind[i]]) found.set(one.problems[one.states.problem[i]].id, i);
      });
      return found;
    };
    const [a, b] = [last(run), last(other)];
    const both = [...a.keys()].filter((id) => b.has(id)).slice(0, 400);
    if (!both.length) return null;
    return el("section.card.wide", { aria: { label: "Tasks of both runs" } }, el("header", el("h2", "Tasks"), el("span.soft.small", "last state that was trained")),
      el("div.scroll", { tabindex: 0, role: "group", aria: { label: "tasks" } }, el("table", el("thead", el("tr", ["task", `k, ${run.name}`, `k, ${other.name}`, `reward, ${run.name}`, `reward, ${other.name}`, "difference"].map((words, i) => el(i ? "th.number" : "th", { scope: "col" }, visible(words))))),
        el("tbody", both.map((id) => {
          const [i, j] = [a.get(id), b.get(id)];
          const [p, q] = [run.states.value[i], other.states.value[j]];
          return el("tr", el("th.mono", { scope: "row" }, el("a", { href: page.href({ problem: id, redacted: run.states.k[i] }) }, visible(id))),
            el("td.number", whole(run.states.k[i])), el("td.number", whole(other.states.k[j])), el("td.number", fixed(p)), el("td.number", fixed(q)), el("td.number", missing(p) || missing(q) ? "–" : signed(q - p, 2)));
        })))));
  }

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
        same.map((n) => el("option", { value: one.states.iteration[n], selected: n === i || null }, `iteration ${one.states.iteration[n]}, ${one.kinds[one.states.kind[n]]}`)));
    };
    return card(el("p.small", el("span.mono", visible(problem)), ` without its last ${k} tokens: `, pick(run, first, "iteration"), " against ", pick(other, second, "beside")),
      el("div.scroll", { tabindex: 0, role: "group", aria: { label: "actions of both" } }, el("table",
        el("thead", el("tr", ["token", `probability, ${when(run, first)}`, when(other, second), "difference of logprobs", "mean reward", "mean reward there"].map((words, i) => el(i ? "th.number" : "th", { scope: "col" }, words)))),
        el("tbody", rows.map(({ name, a, b }) => {
          const [p, q] = [a?.logprob_after ?? a?.logprob, b?.logprob_after ?? b?.logprob];
          const prob = (v) => (missing(v) ? "–" : el("span.filled", { style: { "--share": Math.exp(v) } }, percent(Math.exp(v))));
          return el("tr", el("th.mono.ltr", { scope: "row" }, name, (a ?? b).golden ? el("span.gold", "golden") : null), el("td.number", prob(p)), el("td.number", prob(q)),
            el("td.number", missing(p) || missing(q) ? "–" : signed(q - p)), el("td.number", a ? `${fixed(a.mean)} of ${a.trials}` : "–"), el("td.number", b ? `${fixed(b.mean)} of ${b.trials}` : "–"));
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
