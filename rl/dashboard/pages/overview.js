// What a run came to: the heat map of tasks by k, and curves.
"use strict";

page.overview = (() => {
  const { el, get, go, missing, fixed, short, whole, plural, percent } = page;

  function show(run, at) {
    return [summary(run, at), heatCard(run, at), curveCard(run, at), statesCard(run, at)];
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
      ? "State reward of this task, by k (rows) and iteration (columns); the line is the frontier, the k that was trained."
      : "State reward, by task (rows) and k (columns: tokens cut off), as last seen in the iterations shown; the bar is the frontier, the k that was trained last.";
    const card = el("section.card.wide", { aria: { label: "Heat map" } },
      el("header", el("h2", "State reward"), el("span.soft.small", head), scaleKey()), slider(run, at), holder);
    if (!data.rows.length) holder.append(el("p.soft", "No state is left by the filter."));
    else draw(holder, run, data, at);
    return card;
  }

  function scaleKey() {
    const steps = [0, 0.25, 0.5, 0.75, 1];
    return el("span.scale.end", { aria: { label: "colours from reward 0 to 1" }, role: "img" },
      "0", steps.map((v) => el("i", { style: { background: page.chart.heat(v) } })), "1");
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
          const card = input.closest(".card");
          const holder = card.querySelector(".heat-holder");
          holder.replaceChildren();
          const limited = { ...get(), iterations: `0-${chosen}` };
          draw(holder, run, table(run, limited), limited);
        },
        change: (event) => {
          const chosen = Number(event.target.value);
          go({ iterations: chosen === all.length - 1 ? null : `0-${all[chosen]}` }, { replace: true });
        },
      },
    });
    return el("div.slider", el("span.soft.small", "time"), input, out);
  }

  function draw(holder, run, data, at) {
    const { rows, columns, cells, frontier, one } = data;
    if (!rows.length) return;
    const label = (row) => (one ? `k ${row}` : run.problems[row].id);
    const longest = Math.max(...rows.map((row) => label(row).length));
    const left = Math.min(150, 16 + longest * 7.3);
    const room = Math.max(260, (holder.clientWidth || document.getElementById("main").clientWidth - 70) - left - 4);
    const wide = Math.max(5, Math.min(44, Math.floor(room / columns.length)));
    const high = rows.length > 60 ? 9 : rows.length > 24 ? 14 : 22;
    const [width, height] = [left + wide * columns.length + 2, high * rows.length + 22];
    const ratio = Math.min(2, devicePixelRatio || 1);
    const canvas = el("canvas.heat", {
      tabindex: 0, role: "application",
      aria: { label: `heat map of ${plural(cells.size, "cell")}; arrow keys move, Enter opens a state`, roledescription: "heat map" },
      style: { width: `${width}px`, height: `${height}px` },
    });
    [canvas.width, canvas.height] = [width * ratio, height * ratio];
    holder.append(canvas);
    const pen = canvas.getContext("2d");
    let cursor = null;
    function paint() {
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      pen.clearRect(0, 0, width, height);
      pen.font = `${high < 12 ? 9 : 11.5}px ${page.style("--mono")}`;
      pen.textBaseline = "middle";
      const [ink, soft, line] = [page.style("--ink"), page.style("--soft"), page.style("--line")];
      const gap = wide > 8 && high > 10 ? 2 : 1;
      rows.forEach((row, r) => {
        pen.fillStyle = soft;
        if (high > 8) pen.fillText(label(row).slice(0, 20), 0, r * high + high / 2);
        columns.forEach((column, c) => {
          const i = cells.get(`${row} ${column}`);
          pen.fillStyle = i === undefined ? line : page.chart.heat(run.states.value[i]);
          const inset = i === undefined ? Math.min(wide, high) / 2 - 1 : 0;
          pen.fillRect(left + c * wide + inset, r * high + inset, wide - gap - 2 * inset, high - gap - 2 * inset);
        });
      });
      pen.fillStyle = soft;
      const every = Math.max(1, Math.ceil(26 / wide));
      pen.textAlign = "center";
      columns.forEach((column, c) => c % every === 0 && pen.fillText(column, left + c * wide + wide / 2, rows.length * high + 12));
      pen.textAlign = "left";
      pen.strokeStyle = ink;
      pen.lineWidth = 2;
      pen.beginPath();
      if (one) {
        let started = false;
        columns.forEach((column, c) => {
          if (!frontier.has(column)) return;
          const y = rows.indexOf(frontier.get(column)) * high;
          pen[started ? "lineTo" : "moveTo"](left + c * wide, y);
          pen.lineTo(left + (c + 1) * wide, y);
          started = true;
        });
      } else {
        rows.forEach((row, r) => {
          if (!frontier.has(row)) return;
          const x = left + (columns.indexOf(frontier.get(row).k) + 1) * wide - 1;
          pen.moveTo(x, r * high - 0.5);
          pen.lineTo(x, (r + 1) * high - 0.5);
        });
      }
      pen.stroke();
      if (cursor) {
        pen.strokeStyle = page.style("--focus");
        pen.strokeRect(left + cursor[1] * wide - 1, cursor[0] * high - 1, wide, high);
      }
    }
    const at2 = (event) => {
      const box = canvas.getBoundingClientRect();
      const [r, c] = [Math.floor((event.clientY - box.top) / high), Math.floor((event.clientX - box.left - left) / wide)];
      return r >= 0 && r < rows.length && c >= 0 && c < columns.length ? [r, c] : null;
    };
    const state = ([r, c]) => cells.get(`${rows[r]} ${columns[c]}`);
    function tell(event) {
      const i = cursor && state(cursor);
      const box = canvas.getBoundingClientRect();
      const where = event ? [event.clientX, event.clientY] : cursor && [box.left + left + cursor[1] * wide, box.top + cursor[0] * high];
      if (i === undefined || !cursor) return page.hideTip();
      page.tipAt(where[0], where[1], cellFacts(run, i));
      document.getElementById("status").textContent = event ? "" : `${run.problems[run.states.problem[i]].id}, k ${run.states.k[i]}, reward ${fixed(run.states.value[i])}`;
    }
    canvas.addEventListener("pointermove", (event) => {
      cursor = at2(event);
      canvas.classList.toggle("hand", Boolean(cursor && state(cursor) !== undefined));
      paint();
      tell(event);
    });
    canvas.addEventListener("pointerleave", () => { cursor = null; paint(); page.hideTip(); });
    canvas.addEventListener("click", (event) => {
      const cell = at2(event);
      if (cell && state(cell) !== undefined) go(page.run.link(run, state(cell)));
    });
    canvas.addEventListener("keydown", (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (event.key === "Enter" && cursor && state(cursor) !== undefined) return go(page.run.link(run, state(cursor)));
      if (!step) return;
      event.preventDefault();
      const [r, c] = cursor ?? [0, -1];
      cursor = [Math.max(0, Math.min(rows.length - 1, r + step[0])), Math.max(0, Math.min(columns.length - 1, c + step[1]))];
      paint();
      tell(null);
    });
    paint();
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

  function curveCard(run, at) {
    const { iteration, names, values } = run.metrics;
    const [from, to] = page.run.span(at.iterations);
    const range = Number.isFinite(from) ? [from, to] : null;
    const zoom = (span) => go({ iterations: span && span[1] > span[0] ? `${span[0]}-${span[1]}` : null });
    const one = (name, as = name) => ({ name: as, x: iteration, y: values[names.indexOf(name)] ?? [] });
    const shared = { range, zoom };
    const sum = (name) => values[names.indexOf(name)].reduce((all, x) => all + (x ?? 0), 0);
    const seconds = names.filter((name) => name.startsWith("seconds/")).sort((a, b) => sum(b) - sum(a));
    const known = [
      { title: "reward", series: [one("state_reward", "state reward, training"), one("evaluation/trained", "evaluation, trained"), one("evaluation/held out", "evaluation, held out")], zero: true, digits: (x) => fixed(x), note: "State reward of what was trained in an iteration, and mean rewards at the fixed redactions of evaluations." },
      { title: "k", series: [one("k", "")], digits: (x) => fixed(x, 1), note: "Tokens cut off, mean over tasks; it grows where states are solved." },
      { title: "moves", series: [one("targets", "with a target"), one("moves_confirmed", "confirmed"), one("targets_reached", "reached")], zero: true, digits: whole, note: "Logprobs that were to move; that moved, as the sampler says; that are at their target." },
      { title: "drift", series: [one("drift", "of the update"), one("evaluation/drift", "since the start")], zero: true, note: "Mean KL over probe texts, in nats: how far text moved that was not meant to." },
      { title: "loss", series: [one("loss", "")], note: "Mean loss of a golden token, before the step." },
      { title: "rollouts", series: [one("rollouts", "")], zero: true, digits: whole, note: "Completions sampled in an iteration." },
      { title: "optimizer steps", series: [one("steps", "that stand"), one("steps_taken_back", "taken back")], zero: true, digits: whole, note: "Steps of an iteration's update; those that went too far are taken back bit for bit." },
      { title: "seconds by phase", series: seconds.map((name) => one(name, name.slice(8))), stacked: true, digits: whole, note: "Where an iteration's time went, one phase on top of the other." },
    ];
    const drawn = known
      .filter((plot) => plot.series.some((s) => s.y.some((y) => !missing(y))))
      .map((plot) => page.chart.curves({ ...shared, ...plot }));
    return el("section.card.wide", { aria: { label: "Curves" } },
      el("header", el("h2", "Curves"), el("span.soft.small", "drag to zoom, double-click to see all"),
        range ? el("button.end", { on: { click: () => zoom(null) } }, `iterations ${range.join("–")} ×`) : null),
      drawn.length ? el("div.plots", drawn) : el("p.soft", "This run has no numbers yet."));
  }

  // ---------------------------------------------------------------- states

  function statesCard(run, at) {
    const found = page.run.filtered(run, at).reverse();
    const { states } = run;
    const list = page.longList({
      label: "states", count: found.length, height: 34, most: 440,
      row: (n) => {
        const i = found[n];
        const flags = run.flags.filter((_, bit) => states.flags[i] & (1 << bit));
        return el("a.state-row", { href: page.href(page.run.link(run, i)) },
          el("span.mono", run.problems[states.problem[i]].id), el("span.n", `k ${states.k[i]}`),
          el("span.n.soft", `iteration ${states.iteration[i]}`), el("span.soft.kind", run.kinds[states.kind[i]]),
          el("span.value", { style: { "--share": missing(states.value[i]) ? 0 : states.value[i] } }, fixed(states.value[i])),
          el("span.n.soft.wide-only", plural(states.rollouts[i], "rollout")),
          el("span.flags.wide-only", flags.map((name) => page.run.flagTag(name))));
      },
    });
    list.style.height = `${Math.min(440, found.length * 34)}px`;
    return el("section.card.wide", { aria: { label: "States" } },
      el("header", el("h2", "States"), el("span.soft.small", `${whole(found.length)} of ${whole(run.count)}, the latest first`)),
      found.length ? list : el("p.soft", "No state is left by the filter."));
  }

  return { show, cellFacts };
})();
