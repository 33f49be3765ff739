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
    return [
      el(`div.columns${run.count ? "" : ".alone"}`,
        el("div.left", textCard(run, data, known, chosen, at), promptCard(data, at)),
        el("div.right", state ? page.state.show(run, data, state, at) : el("section.card", el("p.soft", run.count ? "No state of this problem was seen up to here." : "An atlas has values of states, and no actions: hover over the tokens, or focus them.")))),
    ];
  }

  // For each token of the solution its latest row up to the iteration of the address, and its first one.
  function byToken(run, data, at) {
    const { rows } = data;
    const until = missing(at.iteration) ? Infinity : Number(at.iteration);
    const total = data.golden.length + data.missing;
    const known = new Map();
    rows.k.forEach((k, i) => {
      if (rows.iteration[i] > until) return;
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

  function ink(paint) {
    const [r, g, b] = paint.match(/\d+/g).map((part) => {
      const c = part / 255;
      return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b > 0.18 ? "#111" : "#fff";
  }

  function textCard(run, data, known, chosen, at) {
    const mode = MODES.some(([name]) => name === at.colour) ? at.colour : "jump";
    const total = data.golden.length + data.missing;
    const places = new Map([...known.values()].map((entry) => [entry.place, entry]));
    const chosenK = chosen < 0 ? null : run.states.k[chosen];
    const [head, skipped] = data.head ?? ["", 0];
    const tokens = data.golden.map((id, place) => {
      if (place < skipped) return place ? null : el("span", pieces(head));
      const text = data.text(id);
      const entry = places.get(place);
      const k = total - place;
      const paint = colour(entry, mode);
      const here = k === chosenK;
      const options = { class: null, style: paint ? { background: paint, color: ink(paint) } : {} };
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
    return el("p.scale.small.soft", { role: "img", aria: { label: `colours from ${ends[0]} to ${ends[1]}` } },
      ends[0], steps.map((v) => el("i", { style: { background: ends[2](v) } })), ends[1],
      el("span", "tokens without colour were not measured"));
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

  function tokenFacts(run, data, entry, id) {
    const { rows } = data;
    const r = entry.row;
    const likely = missing(r) ? [] : rows.likeliest[r];
    return [
      el("strong.mono.ltr", visible(data.text(id)).replace("\n", "⏎") || "∅"),
      el("span.soft", ` token ${id}, k ${entry.k}`),
      page.facts([
        ["value before it", missing(entry.value) ? null : fixed(entry.value, 3)],
        ["interval, 95%", missing(entry.valueRow) || missing(rows.low[entry.valueRow]) || run.kinds[rows.kind[entry.valueRow]] !== "atlas" ? null : `${fixed(rows.low[entry.valueRow])} to ${fixed(rows.high[entry.valueRow])}`],
        ["jump", missing(entry.jump) ? null : signed(entry.jump)],
        ["logprob", missing(r) ? null : fixed(rows.logprob[r], 4)],
        ["after the update", missing(r) ? null : fixed(rows.after[r], 4)],
        ["reference", missing(r) || missing(rows.reference[r]) ? null : fixed(rows.reference[r], 4)],
        ["tuned − reference", missing(entry.difference) ? null : signed(entry.difference, 4)],
        ["rank", missing(r) || missing(rows.rank[r]) ? null : whole(rows.rank[r])],
        ["entropy", missing(entry.entropy) ? null : `${fixed(entry.entropy, 2)} nats`],
        ["trained", `${page.plural(entry.times, "time")}`],
        ["last seen", `iteration ${rows.iteration[entry.any]}`],
      ]),
      likely.length ? el("div.likely", el("span.soft", "likeliest then"), likely.map(([token, logprob, text]) =>
        el(`div.like${token === id ? ".golden" : ""}`, el("span.mono.ltr", visible(text).replace("\n", "⏎")), el("i", { style: { "--share": Math.exp(logprob) } }), el("span", percent(Math.exp(logprob)))))) : null,
    ].filter(Boolean);
  }

  // ---------------------------------------------------------------- prompt

  function promptCard(data, at) {
    const ids = at.ids === "1";
    const body = el("div.prompt.ltr", { tabindex: 0, role: "group", aria: { label: "prompt" } });
    const fill = () => body.replaceChildren(...(ids
      ? data.prompt.map((id) => el("span.with-id", el("span", visible(data.text(id)).replace("\n", "⏎")), el("sub", String(id))))
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

  return { show, pieces, ink };
})();
