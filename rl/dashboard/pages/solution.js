// A golden solution, token by token, coloured by what the run knows of each; the prompt before it.
"use strict";

page.solution = (() => {
  const { el, get, go, href, missing, fixed, signed, percent, whole, visible } = page;

  const MODES = [
    ["jump", "jump", "By how much the token changes the measured value of the state: the value after it less the value before it."],
    ["logprob", "logprob", "The golden token's logprob, of the policy after the update where it is known."],
    ["difference", "tuned − reference", "Its logprob less that of the reference model, the policy that the run began with."],
    ["entropy", "entropy", "Entropy of the next token in this state, in nats."],
    ["drift", "drift", "How far its logprob moved from the first time that it was seen to the last."],
    ["value", "value", "Measured reward of the state before the token."],
  ];

  async function show(run, at) {
    const number = run.problemNumber.get(at.problem);
    if (number === undefined) return [el("section.card.wide", el("p", `This run has no problem called ${visible(at.problem)}.`))];
    const data = await page.run.problem(run, number);
    if (!data) return [el("section.card.wide", el("p", "The file with this problem's tokens is missing."))];
    const known = byToken(run, data, at);
    const chosen = page.run.find(run, at);
    const state = chosen < 0 ? null : await page.run.state(run, chosen);
    const k = state ? state.k : tokenOf(known, at);
    const about = [tokenCard(run, data, known.get(k)), valueCard(run, data, known, k)];
    const none = run.count ? el("section.card", el("p.soft", "No state of this problem was seen up to here.")) : null;
    return [
      el("div.columns",
        el("div.left", textCard(run, data, known, k, at), state ? about : null, promptCard(data, at)),
        el("div.right", state ? page.state.show(run, data, state, at) : [none, about])),
    ];
  }

  // The token that an address names where no state is there, else the one with the largest jump.
  function tokenOf(known, at) {
    if (known.has(Number(at.redacted))) return Number(at.redacted);
    const size = (entry) => Math.abs(entry.jump ?? 0);
    return [...known.values()].reduce((best, entry) => (!best || size(entry) > size(best) ? entry : best), null)?.k ?? null;
  }

  // For each token of the solution its latest row up to the iteration of the address, and its first one.
  function byToken(run, data, at) {
    const { rows } = data;
    const [from, until] = page.run.seen(at);
    const total = data.golden.length + data.missing;
    const known = new Map();
    rows.k.forEach((k, i) => {
      if (rows.iteration[i] < from || rows.iteration[i] > until) return;
      const entry = known.get(k) ?? { k, place: total - k, times: 0, value: null };
      if (!missing(rows.value[i])) [entry.value, entry.valueRow] = [rows.value[i], i];
      if (!missing(rows.logprob[i])) {
        entry.first ??= i;
        entry.row = i;
        if (run.training[rows.kind[i]]) entry.times += missing(rows.target[i]) ? 0 : 1;
      }
      entry.any = i;
      known.set(k, entry);
    });
    const value = (k) => (k === 0 ? 1 : known.get(k)?.value);
    for (const entry of known.values()) {
      const after = value(entry.k - 1) ?? (missing(entry.row) ? null : rows.mean[entry.row]);
      entry.jump = missing(after) || missing(entry.value) ? null : after - entry.value;
      const r = entry.row;
      if (missing(r)) continue;
      entry.now = rows.after[r] ?? rows.logprob[r];
      entry.difference = missing(rows.reference[r]) ? null : entry.now - rows.reference[r];
      entry.drift = entry.now - rows.logprob[entry.first];
      entry.entropy = rows.entropy[r];
    }
    return known;
  }

  function colour(entry, mode) {
    if (!entry) return null;
    if (mode === "value") return missing(entry.value) ? null : page.chart.heat(entry.value);
    if (mode === "jump") return missing(entry.jump) ? null : page.chart.twoSided(entry.jump * 1.5);
    if (mode === "difference" || mode === "drift") return missing(entry[mode]) ? null : page.chart.twoSided(entry[mode] / 2);
    if (mode === "entropy") return missing(entry.entropy) ? null : page.chart.heat(entry.entropy / 4);
    return missing(entry.now) ? null : page.chart.heat(Math.exp(entry.now));
  }

  function textCard(run, data, known, chosenK, at) {
    const mode = MODES.some(([name]) => name === at.colour) ? at.colour : "jump";
    const total = data.golden.length + data.missing;
    const places = new Map([...known.values()].map((entry) => [entry.place, entry]));
    const [head, skipped] = data.head ?? ["", 0];
    const tokens = data.golden.map((id, place) => {
      if (place < skipped) return place ? null : el("span", pieces(head));
      const text = data.text(id);
      const entry = places.get(place);
      const k = total - place;
      const paint = colour(entry, mode);
      const here = k === chosenK;
      const options = { class: null, style: paint ? { background: paint, color: page.chart.ink(paint) } : {} };
      const shown = pieces(text);
      if (!entry) return el("span.token", options, shown);
      return el(`a.token.known${here ? ".here" : ""}`, {
        ...options, href: href({ redacted: k, action: null, token: null }),
        aria: { label: `${visible(text).trim() || "space"}, k ${k}${missing(entry.value) ? "" : `, value ${fixed(entry.value)}`}`, ...(here ? { current: "true" } : {}) },
        tip: () => tokenFacts(run, data, entry, id),
      }, shown);
    });
    if (data.missing) tokens.push(el("span.soft", ` … ${page.plural(data.missing, "token")} that this run has not shown`));
    const text = el("div.solution.ltr", { role: "group", aria: { label: "golden solution, token by token" } }, tokens);
    page.arrows(text, "a.token");
    const last = iterationsOf(run, data);
    const iteration = missing(at.iteration) ? last[last.length - 1] : Number(at.iteration);
    return el("section.card", { aria: { label: "Golden solution" } },
      el("header", el("h2", "Golden solution"),
        el("span.soft.small", `${visible(data.id)}, ${page.plural(total, "token")}, ${whole(known.size)} with measurements`)),
      el("div.segments", { role: "group", aria: { label: "Colour tokens by" } }, MODES.map(([name, words, note]) =>
        el("button", { aria: { pressed: String(name === mode) }, tip: note, on: { click: () => go({ colour: name === "jump" ? null : name }, { replace: true }) } }, words))),
      legend(mode), text,
      last.length > 1 ? iterationPicker(last, iteration) : null);
  }

  // A token's text; line breaks are shown, and break the line.
  function pieces(text) {
    return visible(text).split(/(\n)/).filter(Boolean).map((part) => (part === "\n" ? [el("span.newline", { aria: { hidden: "true" } }, "⏎"), "\n"] : part));
  }

  function legend(mode) {
    const ends = {
      jump: ["−0.67", "+0.67", page.chart.twoSided], difference: ["−2", "+2 nats", page.chart.twoSided],
      drift: ["−2", "+2 nats", page.chart.twoSided], value: ["0", "1", page.chart.heat],
      entropy: ["0", "4 nats", page.chart.heat], logprob: ["probability 0", "1", page.chart.heat],
    }[mode];
    const steps = ends[2] === page.chart.heat ? [0, 0.25, 0.5, 0.75, 1] : [-1, -0.5, 0, 0.5, 1];
    return el("p.legend.small.soft", page.heatmap.key(ends[0], ends[1], { paint: ends[2], steps }), el("span", "no colour: not measured"));
  }

  const iterationsOf = (run, data) => [...new Set(data.rows.iteration)].sort((a, b) => a - b);

  function iterationPicker(all, iteration) {
    const place = Math.max(0, all.findLastIndex((one) => one <= iteration));
    const out = el("output.soft.small", `iteration ${all[place]}`);
    return el("div.slider", el("span.soft.small", "as of"), el("input", {
      type: "range", min: 0, max: all.length - 1, value: place, aria: { label: "Show the solution as of an iteration" },
      on: {
        input: (event) => (out.textContent = `iteration ${all[event.target.value]}`),
        change: (event) => go({ iteration: all[event.target.value], action: null }, { replace: true }),
      },
    }), out);
  }

  // Rows of names, values and what they mean.
  function factRows(run, { rows }, entry) {
    const r = entry.row;
    const at = (name) => (missing(r) ? null : rows[name][r]);
    const number = (x, write) => (missing(x) ? null : write(x));
    const v = entry.valueRow;
    const atlas = !missing(v) && run.kinds[rows.kind[v]] === "atlas";
    return [
      ["value before it", number(entry.value, (x) => fixed(x, 3)), "Mean reward of what the policy makes of the solution up to this token, without it."],
      ["interval, 95%", atlas && !missing(rows.low[v]) ? `${fixed(rows.low[v])} to ${fixed(rows.high[v])}` : null, "Exact interval of that value, from its rollouts."],
      ["rollouts", atlas ? number(rows.trials[v], whole) : null, "Rollouts that the value rests on; a value without any lies on the line between its neighbours."],
      ["jump", number(entry.jump, signed), "What the token is worth: the value after it less the value before it."],
      ["logprob", number(at("logprob"), (x) => fixed(x, 4)), "Of the policy that sampled here, before the update, in nats."],
      ["after the update", number(at("after"), (x) => fixed(x, 4)), "The same of the policy after the update, as the sampler says."],
      ["reference", number(at("reference"), (x) => fixed(x, 4)), "Of the policy that the run began with."],
      ["tuned − reference", number(entry.difference, (x) => signed(x, 4)), "The newest logprob less the reference's."],
      ["rank", number(at("rank"), whole), "1 where no token is likelier."],
      ["entropy", number(entry.entropy, (x) => `${fixed(x, 2)} nats`), "Of the next token in this state: 0 where the policy is sure."],
      ["trained", run.count ? page.plural(entry.times, "time") : null, "How often its logprob had a target in an update."],
      ["last seen", run.count ? `iteration ${rows.iteration[entry.any]}` : null, "The iteration that these numbers are of."],
    ];
  }

  const tokenName = (data, id, k) => [el("strong.mono.ltr", visible(data.text(id)).replaceAll("\n", "⏎") || "∅"), el("span.soft", ` token ${id}, k ${k}`)];

  function likeliest({ rows }, entry, id) {
    const likely = missing(entry.row) ? [] : rows.likeliest[entry.row] ?? [];
    return likely.length ? el("div.likely", el("span.soft", "likeliest then"), likely.map(([token, logprob, text]) =>
      el(`div.like${token === id ? ".golden" : ""}`, el("span.mono.ltr", visible(text).replaceAll("\n", "⏎")), el("i", { style: { "--share": Math.exp(logprob) } }), el("span", percent(Math.exp(logprob)))))) : null;
  }

  const tokenFacts = (run, data, entry, id) => [...tokenName(data, id, entry.k), page.facts(factRows(run, data, entry)), likeliest(data, entry, id)].filter(Boolean);

  // What a hover tells, of the token that is chosen: for fingers, and to be read at leisure.
  function tokenCard(run, data, entry) {
    const id = entry && data.golden[entry.place];
    if (missing(id)) return null;
    return el("section.card", { aria: { label: "Chosen token" } },
      el("header", el("h2", "Token"), el("span.small", tokenName(data, id, entry.k))),
      el("div.token-facts", page.facts(factRows(run, data, entry), { notes: true }), likeliest(data, entry, id)));
  }

  // The values as a curve along the text, with intervals where they are known.
  function valueCard(run, data, known, k) {
    const total = data.golden.length + data.missing;
    const entries = [...known.values()].filter((entry) => !missing(entry.value)).sort((a, b) => a.place - b.place);
    if (entries.length < 3) return null;
    const { rows } = data;
    // Values between measured states lie on a line, and so does the band.
    const measured = (row) => run.kinds[rows.kind[row]] === "atlas" && rows.trials[row] >= data.least;
    const bound = (name) => entries.map((entry) => (measured(entry.valueRow) ? rows[name][entry.valueRow] : null));
    const series = [{ name: "", x: entries.map((entry) => entry.place), y: entries.map((entry) => entry.value), low: bound("low"), high: bound("high") }];
    const name = (place) => visible(data.text(data.golden[place])).replaceAll("\n", "⏎") || "∅";
    const words = series[0].low.some((x) => !missing(x)) ? "mean reward before each token; the band is the exact 95% interval of states that were measured" : "mean reward before each token that was cut off";
    return el("section.card", { aria: { label: "Value along the solution" } },
      el("header", el("h2", "Value along the solution"), el("span.soft.small", words)),
      page.chart.curves({
        title: "", series, zero: true, height: 170, width: innerWidth > 1000 ? 600 : Math.max(300, Math.min(700, innerWidth - 46)), digits: (x) => fixed(x, 2), marked: total - k,
        about: (place) => `${name(place)}, k ${total - place}`, label: (place) => `k ${total - place}`,
        pick: (place) => go({ redacted: total - place, action: null }),
      }));
  }

  // ---------------------------------------------------------------- prompt

  function promptCard(data, at) {
    const ids = at.ids === "1";
    const body = el("div.prompt.ltr", { tabindex: 0, role: "group", aria: { label: "prompt" } });
    const fill = () => body.replaceChildren(...(ids
      ? data.prompt.map((id) => el("span.with-id", el("span", visible(data.text(id)).replaceAll("\n", "⏎")), el("sub", String(id))))
      : [visible(data.prompt.map(data.text).join(""))]));
    const details = el("details.card", { open: at.prompt === "1" || null, on: { toggle: () => details.open && !body.childNodes.length && fill() } },
      el("summary", el("h2", "Prompt"), el("span.soft.small", `${page.plural(data.prompt.length, "token")}${data.tokenizer ? `, tokenizer of ${visible(data.tokenizer)}` : ""}${data.known ? "" : "; where it ends is not known, this is what was never cut off"}`)),
      el("div.tools",
        el("button", { aria: { pressed: String(ids) }, on: { click: () => go({ ids: ids ? null : 1, prompt: 1 }, { replace: true }) } }, "token ids"),
        el("button", { on: { click: (event) => page.copy(data.prompt.map(data.text).join(""), event.currentTarget) } }, "copy text"),
        el("button", { on: { click: (event) => page.copy(JSON.stringify(data.prompt), event.currentTarget) } }, "copy ids")),
      body);
    if (details.open) fill();
    return details;
  }

  return { show };
})();
