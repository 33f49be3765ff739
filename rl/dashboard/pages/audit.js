// What updates did to the weights, over time, by layer and by kind.
"use strict";

page.audit = (() => {
  const { el, go, missing, short, percent, whole } = page;
  const SHOWN = [
    ["changed", "changed, as served", "Share of weights that differ at serving precision.", percent],
    ["touched", "changed, own dtype", "Share of weights that differ in their own dtype.", percent],
    ["relative", "update / norm", "The update's norm over the weights'.", short],
    ["update", "update norm", "Norm of what the update added.", short],
    ["gradient", "gradient norm", "Norm of the gradient, where it was noted before the optimizer cleared it.", short],
    ["norm", "weight norm", "Norm of the weights after the update.", short],
  ];

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
          curve("update / weight norm", ["layer"].map(() => series("", (r) => total(r))), "Root mean square over layers."))),
      el("section.card.wide", { aria: { label: "Audit of one update" } },
        el("header", el("h2", `Update of iteration ${chosen.step}`),
          el("label.small.end", "iteration ", el("select", { on: { change: (event) => go({ iteration: event.target.value }, { replace: true }) } }, steps.map((step) => el("option", { value: step, selected: step === chosen.step || null }, String(step)))))),
        el("h3", "By kind"), grid(chosen.kind, "kind", []),
        el("h3", "By layer"), grid(chosen.layer, "layer", chosen.activations)),
    ];
  }

  const total = (report) => {
    const sizes = Object.values(report.layer).map((t) => t.relative).filter((x) => !missing(x));
    return sizes.length ? Math.sqrt(sizes.reduce((sum, x) => sum + x * x, 0) / sizes.length) : null;
  };

  function grid(rows, what, activations) {
    const by = new Map(activations.map((one) => [String(one.layer), one]));
    const most = Object.fromEntries(SHOWN.map(([name]) => [name, Math.max(1e-30, ...Object.values(rows).map((row) => row[name] ?? 0))]));
    const shown = SHOWN.filter(([name]) => Object.values(rows).some((row) => !missing(row[name])));
    const extra = by.size ? [["hidden RMS", "hidden_rms"], ["largest logit", "largest_logit"]] : [];
    return el("div.scroll", { tabindex: 0, role: "group", aria: { label: `weights by ${what}` } }, el("table",
      el("thead", el("tr", el("th", { scope: "col" }, what), el("th.number", { scope: "col" }, "weights"), shown.map(([, words, note]) => el("th.number", { scope: "col", tip: note, tabindex: 0 }, words)), extra.map(([words]) => el("th.number", { scope: "col" }, words)))),
      el("tbody", Object.entries(rows).map(([name, row]) => el("tr", el("th.mono", { scope: "row" }, name), el("td.number.soft", whole(row.weights)),
        shown.map(([key, , , digits]) => el("td.number", missing(row[key]) ? "–" : el("span.filled", { style: { "--share": row[key] / most[key] } }, digits(row[key])))),
        extra.map(([, key]) => el("td.number", short(by.get(name)?.[key]))))))));
  }

  return { show };
})();
