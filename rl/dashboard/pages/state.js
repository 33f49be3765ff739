// One state: its actions as rows and as squares, and the rail of each action's logprobs.
"use strict";

page.state = (() => {
  const { el, get, go, href, missing, fixed, signed, percent, whole, visible } = page;

  const STOPPED = {
    decided: "Sampling stopped: the action is decided, with some margin.",
    "no hope": "Sampling stopped: a verdict was too unlikely to come.",
    "most rollouts": "Sampling stopped: it had as many rollouts as an action may have.",
    "no alternative": "Sampling stopped: there is no other action to compare it with.",
  };
  const DECISION = { 1: ["+1", "good", "Better than what the policy would do instead."], 0: ["0", "", "Neither better nor worse with enough evidence."], "-1": ["−1", "bad", "Worse than what the policy would do instead."] };

  const name = (state, action) => (missing(action.token_id) ? "from the state" : visible(state.text(action.token_id)).replaceAll("\n", "⏎"));

  function show(run, data, state, at) {
    const order = state.actions.map((_, i) => i).sort((a, b) => (state.actions[b].mean ?? -1) - (state.actions[a].mean ?? -1));
    const wanted = at.action !== undefined && state.actions[Number(at.action)] ? Number(at.action) : null;
    const chosen = wanted ?? order[0];
    return [
      head(run, state),
      actionsCard(run, state, order, chosen),
      railsCard(run, state, order, at),
      page.rollouts.show(run, data, state, chosen),
      caseCard(run, data, state, chosen),
      neighbours(run, state, chosen),
    ];
  }

  function head(run, state) {
    const others = [];
    for (let i = 0; i < run.count; i += 1) {
      if (run.states.problem[i] === state.problem && run.states.k[i] === state.k) others.push(i);
    }
    const place = others.indexOf(state.number);
    const step = (i, words, mark) => (others[i] === undefined ? el("span.step.soft", { aria: { hidden: "true" } }, mark)
      : el("a.step", { href: href({ iteration: run.states.iteration[others[i]], action: null }), aria: { label: words } }, mark));
    return el("section.card.state-head", { aria: { label: "State" } },
      part(el("h2", `k ${state.k}`), "tokens cut off", "The policy was shown the solution without its last tokens, so many of them, and went on from there."),
      part(el("strong.big", fixed(state.value, 3)), "state reward", "The mean over next tokens, weighted by the policy, of what rollouts after them earn.", el("span.meter", { style: { "--share": state.value ?? 0 } })),
      part(el("strong.big", missing(state.entropy) ? "–" : fixed(state.entropy)), "entropy, nats", "Of the next token: 0 where the policy is sure, ln 2 = 0.69 where two tokens are equally likely."),
      part(el("strong.big", `${state.iteration}`), `iteration, ${state.kind}${state.split ? `, ${state.split}` : ""}`, "When the state was seen, and what for: an update, or an evaluation's measurement."),
      el("nav.steps", { aria: { label: "Same state over iterations" } }, step(place - 1, "earlier iteration", "‹"), el("span.small.soft", `${place + 1} of ${others.length}`), step(place + 1, "later iteration", "›")));
  }

  const part = (value, words, note, more = null) => el("div", { tip: note, tabindex: 0 }, value, el("span.soft.small", words), more);

  // ---------------------------------------------------------------- actions

  function actionsCard(run, state, order, chosen) {
    const rows = order.map((i) => {
      const action = state.actions[i];
      const [words, kind, why] = DECISION[action.advantage] ?? ["", "", ""];
      return el(`a.action${i === chosen ? ".here" : ""}`, {
        href: href({ iteration: state.iteration, redacted: state.k, action: i }), aria: i === chosen ? { current: "true" } : {}, tip: () => actionFacts(run, state, action),
      },
      el("span.square", { style: squareStyle(action) }),
      el("span.name", el("span.mono.ltr", name(state, action) || "∅"), action.golden ? el("span.gold", { title: "the known solution's" }, "golden") : null),
      el("span.count", `${page.short(action.successes)}/${action.trials}`),
      bar(state, action),
      el("span.mean", fixed(action.mean)),
      el("span.decision", kind || words ? el(`span.tag${kind ? `.${kind}` : ""}`, { tip: why }, words) : null),
      el("span.stopped.soft.small", action.stopped ?? ""));
    });
    const list = el("div.actions", { role: "group", aria: { label: "actions, by mean reward" } }, rows);
    page.arrows(list, "a.action");
    return el("section.card", { aria: { label: "Actions" } },
      el("header", el("h2", "Actions"), el("span.soft.small", "next tokens, by mean reward; bars are 95% intervals, the line is the state's reward"),
        el("span.squares.end", { role: "img", tabindex: 0, aria: { label: "actions as squares: colour by advantage, shade by confidence" }, tip: "The actions as squares: green is better than what the policy would do instead, red is worse, grey is neither; the deeper, the narrower the interval." }, order.map((i) => el("i.square", { style: squareStyle(state.actions[i]) })))),
      list, chosenFacts(run, state, state.actions[chosen]));
  }

  // Of the action that is chosen, in words: what a hover tells.
  function chosenFacts(run, state, action) {
    if (!action) return null;
    const [, , decision] = DECISION[action.advantage] ?? [];
    const numbers = [
      missing(action.logprob) ? null : `probability ${percent(Math.exp(action.logprob))}`,
      missing(action.rank) ? null : `rank ${whole(action.rank)}`,
      missing(action.low) || !action.trials ? null : `interval ${fixed(action.low)} to ${fixed(action.high)}`,
    ].filter(Boolean).join(", ");
    return el("p.chosen.small", el("span.mono.ltr.word", name(state, action) || "∅"), numbers ? ` ${numbers}. ` : " ", decision ?? "", " ", action.stopped ? (STOPPED[action.stopped] ?? visible(action.stopped)) : "");
  }

  // Colour by advantage, shade by how narrow the interval is.
  function squareStyle(action) {
    const sure = missing(action.low) ? 0 : 1 - (action.high - action.low);
    const side = action.advantage > 0 ? "--good" : action.advantage < 0 ? "--bad" : "--strong-line";
    return { background: `color-mix(in srgb, var(${side}) ${Math.round(25 + 75 * Math.max(0, sure))}%, var(--paper))` };
  }

  function bar(state, action) {
    const [low, high, mean] = [action.low ?? 0, action.high ?? 1, action.mean ?? 0];
    return el("span.bar-track", { aria: { hidden: "true" } },
      el("i.range", { style: { left: `${100 * low}%`, width: `${100 * (high - low)}%` } }),
      el("i.mark", { style: { left: `${100 * mean}%` } }),
      missing(state.value) ? null : el("i.state-mark", { style: { left: `${100 * state.value}%` } }));
  }

  function actionFacts(run, state, action) {
    return [
      el("strong.mono.ltr", name(state, action) || "∅"), missing(action.token_id) ? "" : el("span.soft", ` token ${action.token_id}`),
      page.facts([
        ["mean reward", fixed(action.mean, 3)],
        ["interval, 95%", missing(action.low) ? null : `${fixed(action.low)} to ${fixed(action.high)}`],
        ["rollouts that earned", `${page.short(action.successes)} of ${action.trials}`],
        ["state reward", fixed(state.value, 3)],
        ["logprob", missing(action.logprob) ? null : fixed(action.logprob, 4)],
        ["probability", missing(action.logprob) ? null : percent(Math.exp(action.logprob))],
        ["rank", missing(action.rank) ? null : whole(action.rank)],
        ["decision", DECISION[action.advantage]?.[0]],
      ]),
      action.stopped ? el("p", STOPPED[action.stopped] ?? action.stopped) : null,
    ].filter(Boolean);
  }

  // ---------------------------------------------------------------- rails

  const POINTS = [
    ["logprob_reference", "reference", "of the policy that the run began with"],
    ["logprob", "before", "of the policy that sampled it"],
    ["target", "target", "that the update aims at"],
    ["logprob_trained", "after, trainer", "in the trainer's forward"],
    ["logprob_after", "after, sampler", "in the sampler"],
  ];

  function railsCard(run, state, order, at) {
    const tried = order.filter((i) => !missing(state.actions[i].logprob));
    if (!tried.length) return null;
    const flags = [...new Set(tried.map((i) => state.actions[i].flag).filter(Boolean))];
    const shown = tried.filter((i) => !at.verdict || !flags.includes(at.verdict) || state.actions[i].flag === at.verdict);
    const all = shown.flatMap((i) => POINTS.map(([key]) => state.actions[i][key])).filter((x) => !missing(x));
    const [low, high] = [Math.min(...all), Math.max(...all, 0)];
    const ended = shown.some((i) => state.actions[i].flag || !missing(state.actions[i].logprob_trained));
    const place = (x) => 2 + 96 * ((x - low) / (high - low || 1));
    return el("section.card", { aria: { label: "Logprob rails" } },
      el("header", el("h2", "Logprobs"), el("ul.key.small", POINTS.map(([key, words, note]) => el(`li.point.${key}`, { tip: note, tabindex: 0 }, words))),
        flags.length > 1 || at.verdict ? el("span.segments.end", { role: "group", aria: { label: "Show moves that" } }, flags.map((flag) =>
          el("button", { aria: { pressed: String(at.verdict === flag) }, tip: page.run.FLAG_WORDS[flag], on: { click: () => go({ verdict: at.verdict === flag ? null : flag }, { replace: true }) } }, flag))) : null),
      el(`div.rails${ended ? ".with-end" : ""}`, shown.map((i) => rail(state, state.actions[i], place)),
        el("div.rail-ends", { aria: { hidden: "true" } }, el("span"), el("span.rail-axis.soft.small", el("span", fixed(low)), el("span", "nats"), el("span", fixed(high))))));
  }

  function rail(state, action, place) {
    const known = POINTS.filter(([key]) => !missing(action[key]));
    const equal = !missing(action.logprob_trained) && action.logprob_trained === action.logprob_after;
    const facts = known.map(([key, words]) => [words, fixed(action[key], 6)]);
    const [from, to] = [action.logprob, action.logprob_after ?? action.logprob].map(place).sort((a, b) => a - b);
    return el("div.rail-row", { tabindex: 0, tip: () => [el("strong.mono.ltr", name(state, action)), page.facts([...facts, ["change", missing(action.logprob_after) ? null : signed(action.logprob_after - action.logprob, 4)]])],
      aria: { label: `${name(state, action)}: ${facts.map((pair) => pair.join(" ")).join(", ")}` }, role: "group" },
    el("span.mono.ltr.rail-name", name(state, action) || "∅"),
    el("span.rail", el("i.way", { style: { left: `${from}%`, width: `${to - from}%` } }), known.map(([key]) => el(`i.point.${key}`, { style: { left: `${place(action[key])}%` } }))),
    el("span.rail-end", page.run.flagTag(action.flag), missing(action.logprob_trained) ? null : equal
      ? el("span.tag.good", { tip: "The trainer's logprob and the sampler's are the same bits." }, "bits equal")
      : el("span.tag.bad", { tip: "Trainer and sampler disagree." }, "bits differ")));
  }

  // ---------------------------------------------------------------- a test case, and neighbours

  function caseCard(run, data, state, chosen) {
    const action = state.actions[chosen];
    const total = data.golden.length + data.missing;
    const prefix = [...data.prompt, ...data.golden].slice(0, data.prompt.length + total - state.k);
    const test = { problem: data.id, k: state.k, prefix_ids: prefix, action: action.token_id, expected_reward: action.mean, rollouts: action.trials };
    return el("section.card.slim", { aria: { label: "Test case" } }, el("span.soft.small", "This state and action as a test case: prefix, action, expected reward"),
      el("button", { on: { click: (event) => page.copy(JSON.stringify(test), event.currentTarget) } }, "copy as JSON"),
      el("button", { on: { click: (event) => page.copy(python(test), event.currentTarget) } }, "copy as Python"));
  }

  const python = (test) => `CASE = {\n${Object.entries(test).map(([key, value]) => `    ${JSON.stringify(key)}: ${value === null ? "None" : JSON.stringify(value)},\n`).join("")}}\n`;

  // The same token over iterations, and over tasks.
  function neighbours(run, state, chosen) {
    const action = state.actions[chosen];
    if (missing(action.token_id)) return null;
    const body = el("div");
    const details = el("details.card", { open: get().same === "1" || null, on: { toggle: () => details.open && fill() } },
      el("summary", el("h2", "The same token elsewhere"), el("span.soft.small", "over iterations and over tasks")), body);
    async function fill() {
      if (body.childNodes.length) return;
      const all = await page.run.actions(run);
      if (!all) return body.replaceChildren(el("p.soft", "The file of all actions is missing."));
      const found = all.token.map((_, i) => i).filter((i) => all.token[i] === action.token_id);
      const here = (i) => run.states.problem[all.state[i]] === state.problem && run.states.k[all.state[i]] === state.k;
      found.sort((a, b) => here(b) - here(a) || all.state[a] - all.state[b]);
      const list = page.moves.list(run, all, found, { label: "same token", most: 300 });
      body.replaceChildren(el("p.soft.small", `${page.plural(found.filter(here).length, "time")} in this state, ${whole(found.length)} in all`), ...list);
    }
    if (details.open) fill();
    return details;
  }

  return { show, name, bar, squareStyle, actionFacts, DECISION };
})();
