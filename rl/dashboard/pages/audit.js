// What updates did to the weights, over time, by layer and by kind.
"use strict";

page.audit = (() => {
  const { el, go, missing, short, percent, whole, visible } = page;
  const SHOWN = [
    ["changed", "changed, as served", "Share of weights that differ at serving precision.", percent],
    ["touched", "changed, own dtype", "Share of weights that differ in their own dtype.", percent],
    ["relative", "update / weight norm", "The update's norm over the weights'.", short],
    ["update", "update norm", "Norm of what the update added.", short],
    ["gradient", "gradient norm", "Norm of the gradient, where it was noted before the optimizer cleared it.", short],
    ["norm", "weight norm", "Norm of the weights after the update.", short],
    ["hidden_rms", "hidden RMS", "Root mean square of the hidden state that the layer puts out, over the probe texts.", short],
    ["largest_logit", "largest logit", "The largest attention logit of the layer, over the probe texts.", short],
  ];

  // A report's rows by layer or by kind, each with all that is known of it.
  function rowsOf(report, by) {
    const more = new Map(by === "layer" ? report.activations.map((one) => [String(one.layer), one]) : []);
    return Object.entries(report[by]).map(([name, row]) => [name, { ...row, hidden_rms: more.get(name)?.hidden_rms, largest_logit: more.get(name)?.largest_logit }]);
  }

  async function show(run, at) {
    const reports = run.audits ? await page.run.part(run, "audit") : null;
    if (!reports || !reports.length) {
      return [el("section.card.wide", el("h2", "Audit"), el("p.soft", "This run was not audited. With --settings.audit-every 1 each update's weights, norms and drift are written down."))];
    }
    const [from, to] = page.run.span(at.iterations);
    const steps = reports.map((report) => report.step);
    const chosen = reports.find((report) => String(report.step) === at.iteration) ?? reports.findLast((r) => r.step <= to) ?? reports[reports.length - 1];
    const range = Number.isFinite(from) ? [from, to] : null;
    const zoom = (span) => go({ iterations: span && span[1] > span[0] ? `${span[0]}-${span[1]}` : null });
    const series = (name, get) => ({ name, x: steps, y: reports.map(get) });
    const curve = (title, list, note, digits = short) => page.chart.curves({ title, series: list, note, digits, range, zoom, zero: true });
    return [
      el("section.card.wide", { aria: { label: "Audit over time" } },
        el("header", el("h2", "Updates over time"), el("span.soft.small", `${page.plural(reports.length, "audited iteration")}; weights in ${chosen.precision.weights}, computed in ${chosen.precision.compute}`)),
        el("div.plots",
          curve("weights that changed", [series("as served", (r) => r.changed), series("in their own dtype", (r) => r.touched)], "Share of all weights.", percent),
          curve("drift on the probe", [series("of the update", (r) => r.drift?.kl), series("since the start", (r) => r.drift?.kl_reference)], "Mean KL over the probe texts, in nats."),
          curve("largest change of a probe logprob", [series("", (r) => r.drift?.largest)], "In nats."),
          curve("update / weight norm", [series("", total)], "Root mean square over layers."))),
      mapCard(reports.filter((report) => !range || (report.step >= from && report.step <= to)), at, chosen),
      el("section.card.wide", { aria: { label: "Audit of one update" } },
        el("header", el("h2", `Update of iteration ${chosen.step}`),
          el("label.small.end", "iteration ", el("select", { on: { change: (event) => go({ iteration: event.target.value }, { replace: true }) } }, steps.map((step) => el("option", { value: step, selected: step === chosen.step || null }, String(step)))))),
        el("h3", "By kind"), grid(rowsOf(chosen, "kind"), "kind"),
        el("h3", "By layer"), grid(rowsOf(chosen, "layer"), "layer")),
    ];
  }

  // One measure of all layers, or of all kinds, over the iterations.
  function mapCard(reports, at, chosen) {
    const by = at.by === "kind" ? "kind" : "layer";
    const all = new Map(reports.map((report) => [report.step, new Map(rowsOf(report, by))]));
    const values = (name) => [...all.values()].flatMap((rows) => [...rows.values()].map((row) => row[name])).filter((x) => !missing(x));
    const there = SHOWN.filter(([name]) => values(name).length);
    const [name, words, note, digits] = there.find(([key]) => key === at.measure) ?? there.find(([key]) => key === "relative") ?? there[0];
    const [least, most] = [Math.min(...values(name)), Math.max(...values(name))];
    const holder = el("div.heat-holder.scroll");
    const button = (key, text, patch, on, tip) => el("button", { aria: { pressed: String(on) }, tip, on: { click: () => go(patch, { replace: true }) } }, text);
    const card = el("section.card.wide", { aria: { label: "Audit by layer over time" } },
      el("header", el("h2", by === "layer" ? "Layers over time" : "Kinds of weights over time"), el("span.soft.small", note), el("span.end", page.heatmap.key(digits(least), digits(most)))),
      el("div.tools", el("div.segments", { role: "group", aria: { label: "Rows of the map" } }, ["layer", "kind"].map((one) => button(one, `by ${one}`, { by: one === "layer" ? null : one }, one === by, null))),
        el("div.segments", { role: "group", aria: { label: "Measure that is shown" } }, there.map(([key, text, tip]) => button(key, text, { measure: key }, key === name, tip)))), holder);
    page.heatmap.draw(holder, {
      rows: Object.keys(chosen[by]), columns: reports.map((report) => report.step), label: words, across: "iteration", name: visible, widest: 220,
      cell: (row, step) => {
        const value = all.get(step).get(row)?.[name];
        return missing(value) ? null : {
          shade: most > least ? (value - least) / (most - least) : 0.5, text: digits(value), say: `${row}, iteration ${step}: ${digits(value)}`,
          facts: () => [el("strong", `${by} ${visible(row)}`), page.facts([["iteration", step], ...there.map(([key, text, , write]) => [text, missing(all.get(step).get(row)[key]) ? null : write(all.get(step).get(row)[key])])])],
          open: () => go({ iteration: step }),
        };
      },
    });
    return card;
  }

  const total = (report) => {
    const sizes = Object.values(report.layer).map((t) => t.relative).filter((x) => !missing(x));
    return sizes.length ? Math.sqrt(sizes.reduce((sum, x) => sum + x * x, 0) / sizes.length) : null;
  };

  function grid(rows, what) {
    const shown = SHOWN.filter(([name]) => rows.some(([, row]) => !missing(row[name])));
    const most = Object.fromEntries(shown.map(([name]) => [name, Math.max(1e-30, ...rows.map(([, row]) => row[name] ?? 0))]));
    return el("div.scroll", { tabindex: 0, role: "group", aria: { label: `weights by ${what}` } }, el("table.even",
      el("thead", el("tr", el("th", { scope: "col" }, what), el("th.number", { scope: "col", tip: "How many weights there are.", tabindex: 0 }, "weights"),
        shown.map(([, words, note]) => el("th.number", { scope: "col", tip: note, tabindex: 0 }, words)))),
      el("tbody", rows.map(([name, row]) => el("tr", el("th.mono", { scope: "row" }, visible(name)), el("td.number.soft", whole(row.weights)),
        shown.map(([key, , , digits]) => el("td.number", missing(row[key]) ? "–" : el("span.filled", { style: { "--share": row[key] / most[key] } }, digits(row[key])))))))));
  }

  return { show };
})();
