// What a run came to: the heat map of tasks by k, and curves.
"use strict";

page.overview = (() => {
  const { el, get, go, missing, fixed, short, whole, plural, percent, visible } = page;

  function show(run, at) {
    if (!run.count && run.kinds.includes("atlas")) return [problemsCard(run)];
    return [summary(run, at), heatCard(run, at), curveCard(run, at), statesCard(run, at)];
  }

  // Of an atlas by itself there are no states and no curves.
  function problemsCard(run) {
    return el("section.card.wide", { aria: { label: "Problems" } },
      el("header", el("h2", "Token-value atlas"), el("span.soft.small", "what each of the last tokens of a solution is worth, by rollouts; no training")),
      el("ul.problems", run.problems.map((problem) => el("li", el("a.problem", { href: page.href({ problem: problem.id, view: "solution", redacted: null }) },
        el("span.mono", visible(problem.id)), el("span.soft.small", `${plural(problem.golden, "token")} after ${whole(problem.prompt)}`))))));
  }

  function summary(run, at) {
    const value = (name, from) => {
      const i = run.metrics.names.indexOf(name);
      const known = i < 0 ? [] : run.metrics.values[i].filter((x) => !missing(x));
      return known.length ? known[from === "first" ? 0 : known.length - 1] : null;
    };
    const rollouts = run.states.rollouts.reduce((sum, n) => sum + n, 0);
    const arrow = (name, digits) => {
      const [a, b] = [value(name, "first"), value(name)];
      return missing(a) ? "–" : `${digits(a)} → ${digits(b)}`;
    };
    const seconds = run.metrics.names.reduce((sum, name, i) =>
      name.startsWith("seconds/") ? sum + run.metrics.values[i].reduce((s, x) => s + (x ?? 0), 0) : sum, 0);
    const boxes = [
      ["reward, trained tasks", arrow("evaluation/trained", (x) => fixed(x)), "Mean reward of completions sampled at fixed redactions, at the first evaluation and at the last."],
      ["reward, held out", arrow("evaluation/held out", (x) => fixed(x)), "The same on tasks that are never trained."],
      ["mean k", arrow("k", (x) => fixed(x, 1)), "How many tokens are cut off the solutions, on average over tasks."],
      ["states", whole(run.count), "Entries of the journal: a problem, a k and an iteration each."],
      ["rollouts", whole(rollouts), "Completions that were sampled and rewarded."],
      ["drift", short(value("evaluation/drift")), "Mean KL, in nats, over probe texts, from the start of the run to the last evaluation."],
      ["time", duration(seconds), "Seconds that all phases took together."],
    ].filter(([, text]) => text !== "–");
    return el("section.boxes", { aria: { label: "Summary" } },
      boxes.map(([name, text, note]) => el("div.box", { tip: note, tabindex: 0 }, el("span.soft.small", name), el("strong", text))));
  }

  function duration(seconds) {
    if (!seconds) return "–";
    if (seconds < 90) return `${Math.round(seconds)} s`;
    const minutes = Math.round(seconds / 60);
    return minutes < 90 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
  }

  // ---------------------------------------------------------------- heat map

  // Rows of cells: by task and k at one time, or for one task by k and iteration.
  function table(run, at) {
    const { states } = run;
    const chosen = page.run.filtered(run, at, { ignore: ["redacted"] });
    const one = run.problemNumber.has(at.problem);
    const cells = new Map();
    const frontier = new Map();
    for (const i of chosen) {
      const row = one ? states.k[i] : states.problem[i];
      const column = one ? states.iteration[i] : states.k[i];
      if (!missing(states.value[i])) cells.set(`${row} ${column}`, i);
      if (!run.training[states.kind[i]]) continue;
      if (one) frontier.set(column, Math.max(frontier.get(column) ?? 0, row));
      else if ((frontier.get(row)?.iteration ?? -1) <= states.iteration[i]) {
        const same = frontier.get(row)?.iteration === states.iteration[i];
        frontier.set(row, { iteration: states.iteration[i], k: Math.max(same ? frontier.get(row).k : 0, states.k[i]) });
      }
    }
    const rows = [...new Set([...cells.keys()].map((key) => Number(key.split(" ")[0])))].sort((a, b) => (one ? b - a : a - b));
    const columns = [...new Set([...cells.keys()].map((key) => Number(key.split(" ")[1])))].sort((a, b) => a - b);
    return { one, cells, frontier, rows, columns };
  }

  function heatCard(run, at) {
    const data = table(run, at);
    const holder = el("div.heat-holder.scroll");
    const head = data.one
      ? "of this task, by k (rows) and iteration (columns); the line is the frontier, the k that was trained"
      : "by task (rows) and k (columns), as last seen in the iterations shown; the bar is the frontier, the k that was trained last";
    const card = el("section.card.wide", { aria: { label: "Heat map" } },
      el("header", el("h2", "State reward"), el("span.soft.small", head), el("span.end", page.heatmap.key("0", "1", { words: "colours from reward 0 to 1" }))),
      slider(run, at), holder);
    if (!data.rows.length) holder.append(el("p.soft", "No state is left by the filter."));
    else draw(holder, run, data);
    return card;
  }

  function slider(run, at) {
    const all = run.iterations;
    if (all.length < 2) return null;
    const [, to] = page.run.span(at.iterations);
    const place = Math.max(0, all.findLastIndex((iteration) => iteration <= to));
    const out = el("output.soft.small", `up to iteration ${all[place]}`);
    const input = el("input", {
      type: "range", min: 0, max: all.length - 1, value: place, aria: { label: "Show the run up to an iteration" },
      on: {
        input: (event) => {
          const chosen = all[event.target.value];
          out.textContent = `up to iteration ${chosen}`;
          const holder = input.closest(".card").querySelector(".heat-holder");
          holder.replaceChildren();
          draw(holder, run, table(run, { ...get(), iterations: `0-${chosen}` }));
        },
        change: (event) => {
          const chosen = Number(event.target.value);
          go({ iterations: chosen === all.length - 1 ? null : `0-${all[chosen]}` }, { replace: true });
        },
      },
    });
    return el("div.slider", el("span.soft.small", "time"), input, out);
  }

  function draw(holder, run, { rows, columns, cells, frontier, one }) {
    const { states } = run;
    page.heatmap.draw(holder, {
      rows, columns, label: "state reward",
      across: one ? "iteration" : "k, tokens cut off",
      name: (row) => (one ? `k ${row}` : visible(run.problems[row].id)),
      cell: (row, column) => {
        const i = cells.get(`${row} ${column}`);
        return i === undefined ? null : {
          shade: states.value[i], text: fixed(states.value[i]), facts: () => cellFacts(run, i), open: () => go(page.run.link(run, i)),
          say: `${run.problems[states.problem[i]].id}, k ${states.k[i]}, reward ${fixed(states.value[i])}`,
        };
      },
      over: (pen, place) => drawFrontier(pen, place, { rows, columns, frontier, one }),
    });
  }

  function drawFrontier(pen, { left, wide, high, column, row }, { rows, columns, frontier, one }) {
    pen.strokeStyle = page.style("--mark");
    pen.lineWidth = 3;
    pen.beginPath();
    let started = false;
    if (one) {
      for (const key of columns.filter((key) => rows.includes(frontier.get(key)))) {
        const [x, y] = [left + column(key) * wide, Math.max(1.5, row(frontier.get(key)) * high)];
        pen[started ? "lineTo" : "moveTo"](x, y);
        pen.lineTo(x + wide, y);
        started = true;
      }
    } else {
      for (const key of rows.filter((key) => columns.includes(frontier.get(key)?.k))) {
        const x = left + (column(frontier.get(key).k) + 1) * wide - 1;
        pen.moveTo(x, row(key) * high - 0.5);
        pen.lineTo(x, (row(key) + 1) * high - 0.5);
      }
    }
    pen.stroke();
  }

  function cellFacts(run, i) {
    const { states } = run;
    return [
      el("strong", run.problems[states.problem[i]].id),
      page.facts([
        ["k, tokens cut off", whole(states.k[i])],
        ["iteration", whole(states.iteration[i])],
        ["kind", run.kinds[states.kind[i]]],
        ["state reward", fixed(states.value[i], 3)],
        ["rollouts", whole(states.rollouts[i])],
        ["golden token, before", missing(states.logprob[i]) ? null : percent(Math.exp(states.logprob[i]))],
        ["golden token, after", missing(states.after[i]) ? null : percent(Math.exp(states.after[i]))],
      ]),
    ];
  }

  // ---------------------------------------------------------------- curves

  // What is drawn of the numbers of iterations, each with what it means.
  function plots(run) {
    const { iteration, names, values } = run.metrics;
    const one = (name, as = name) => ({ name: as, of: name, x: iteration, y: values[names.indexOf(name)] ?? [] });
    const sum = (name) => values[names.indexOf(name)].reduce((all, x) => all + (x ?? 0), 0);
    const seconds = names.filter((name) => name.startsWith("seconds/")).sort((a, b) => sum(b) - sum(a));
    return [
      { title: "reward", series: [one("state_reward", "state reward, training"), one("evaluation/trained", "evaluation, trained"), one("evaluation/held out", "evaluation, held out")], zero: true, digits: (x) => fixed(x), note: "State reward of what was trained in an iteration, and mean rewards at the fixed redactions of evaluations." },
      { title: "k", series: [one("k", "")], digits: (x) => fixed(x, 1), note: "Tokens cut off, mean over tasks; it grows where states are solved." },
      { title: "moves", series: [one("targets", "with a target"), one("moves_confirmed", "confirmed"), one("targets_reached", "reached")], zero: true, digits: whole, note: "Logprobs that were to move; that moved, as the sampler says; that are at their target." },
      { title: "drift", series: [one("drift", "of the update"), one("evaluation/drift", "since the start")], zero: true, note: "Mean KL over probe texts, in nats: how far text moved that was not meant to." },
      { title: "loss", series: [one("loss", "")], note: "Mean loss of a golden token, before the step." },
      { title: "rollouts", series: [one("rollouts", "")], zero: true, digits: whole, note: "Completions sampled in an iteration." },
      { title: "optimizer steps", series: [one("steps", "that stand"), one("steps_taken_back", "taken back")], zero: true, digits: whole, note: "Steps of an iteration's update; those that went too far are taken back bit for bit." },
      { title: "seconds by phase", series: seconds.map((name) => one(name, name.slice(8))), stacked: true, digits: whole, note: "Where an iteration's time went, one phase on top of the other." },
    ];
  }

  function curveCard(run, at) {
    const [from, to] = page.run.span(at.iterations);
    const range = Number.isFinite(from) ? [from, to] : null;
    const zoom = (span) => go({ iterations: span && span[1] > span[0] ? `${span[0]}-${span[1]}` : null });
    const shared = { range, zoom };
    const drawn = plots(run)
      .filter((plot) => plot.series.some((s) => s.y.some((y) => !missing(y))))
      .map((plot) => page.chart.curves({ ...shared, ...plot }));
    return el("section.card.wide", { aria: { label: "Curves" } },
      el("header", el("h2", "Curves"), el("span.soft.small", "by iteration; drag to zoom, double-click to see all"),
        range ? el("button.end", { on: { click: () => zoom(null) } }, `iterations ${range.join("–")} ×`) : null),
      drawn.length ? el("div.plots", drawn) : el("p.soft", "This run has no numbers yet."));
  }

  // ---------------------------------------------------------------- states

  const HEAD = [
    ["problem", "The task."], ["k", "Tokens of the known solution that were cut off."], ["iteration", "When the state was seen."],
    ["kind", "What it was seen for: an update, or an evaluation's measurement."],
    ["reward", "State reward: the mean over next tokens, weighted by the policy, of what rollouts earn."],
    ["rollouts", "Completions that were sampled in this state."], ["moves", "What became of the logprobs that had a target."],
  ];

  function statesCard(run, at) {
    const found = page.run.filtered(run, at).reverse();
    const { states } = run;
    const list = page.longList({
      label: "states", count: found.length, height: page.run.rowHeight(), most: 442,
      row: (n) => {
        const i = found[n];
        const flags = run.flags.filter((_, bit) => states.flags[i] & (1 << bit));
        return el("a.row.state-row", { href: page.href(page.run.link(run, i)) },
          el("span.mono", visible(run.problems[states.problem[i]].id)), el("span.n", el("span.unit", "k "), whole(states.k[i])),
          el("span.n.soft", el("span.unit", "iteration "), whole(states.iteration[i])), el("span.soft.kind", run.kinds[states.kind[i]]),
          el("span.value", { style: { "--share": missing(states.value[i]) ? 0 : states.value[i] } }, fixed(states.value[i])),
          el("span.n.soft", whole(states.rollouts[i]), el("span.unit", " rollouts")),
          el("span.flags", flags.map((name) => page.run.flagTag(name))));
      },
    });
    return el("section.card.wide", { aria: { label: "States" } },
      el("header", el("h2", "States"), el("span.soft.small", `${whole(found.length)} of ${whole(run.count)}, the latest first`)),
      found.length ? [page.run.rowHead("state-row", HEAD), list] : el("p.soft", run.count ? "No state is left by the filter." : "No state was written down yet."));
  }

  return { show, plots };
})();
