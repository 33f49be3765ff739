// A run's data as views ask for it: its index, what the filter leaves of its states, and chunks by what is in them.
"use strict";

page.run = (() => {
  const { load, missing } = page;

  // The index of a run, with what views look up again and again.
  async function open(entry) {
    const data = await load(`${entry.number}/index`, entry.version);
    if (!data) return null;
    data.number = entry.number;
    data.count = data.states.k.length;
    data.problemNumber = new Map(data.problems.map((problem, number) => [problem.id, number]));
    data.iterations = [...new Set(data.states.iteration)].sort((a, b) => a - b);
    data.training = data.kinds.map((kind) => kind !== "measurement" && kind !== "atlas");
    return data;
  }

  const part = async (run, name) => await load(`${run.number}/${name}`, run.version);

  async function problem(run, number) {
    const data = await part(run, `problem-${number}`);
    if (data && !data.text) data.text = texts(data.texts);
    return data;
  }

  // One state with its actions and rollouts.
  async function state(run, number) {
    const chunk = run.states.chunk[number];
    // A chunk that is closed never changes.
    const data = await load(`${run.number}/states-${chunk}`, chunk < run.open ? 0 : run.version);
    if (!data) return null;
    data.text ??= texts(data.texts);
    const found = data.states.find((one) => one.number === number);
    return found ? { ...found, text: data.text } : null;
  }

  async function actions(run) {
    const data = await part(run, "actions");
    if (data) data.text ??= texts(data.texts);
    return data;
  }

  function texts([ids, names]) {
    const table = new Map(ids.map((id, i) => [id, names[i]]));
    return (id) => table.get(id) ?? `⟨${id}⟩`;
  }

  // The numbers of the states that the address's filter leaves, in the order of the journal.
  function filtered(run, at, { ignore = [] } = {}) {
    const { states } = run;
    const wanted = (name) => (ignore.includes(name) || missing(at[name]) || at[name] === "" ? null : at[name]);
    const [name, k, verdict] = [wanted("problem"), wanted("redacted"), wanted("verdict")];
    const [from, to] = span(wanted("iterations"));
    const number = name === null ? null : (run.problemNumber.get(name) ?? -1);
    const bit = verdict === null ? 0 : 1 << run.flags.indexOf(verdict);
    const found = [];
    for (let i = 0; i < run.count; i += 1) {
      if (number !== null && states.problem[i] !== number) continue;
      if (k !== null && states.k[i] !== Number(k)) continue;
      if (states.iteration[i] < from || states.iteration[i] > to) continue;
      if (bit && !(states.flags[i] & bit)) continue;
      found.push(i);
    }
    return found;
  }

  // "3-9" as two numbers; a number by itself is both.
  function span(text) {
    const match = /^(\d+)(?:-(\d+))?$/.exec(text ?? "");
    return match ? [Number(match[1]), Number(match[2] ?? match[1])] : [-Infinity, Infinity];
  }

  // The iterations that count: up to the one of the address, else those of the filter.
  const seen = (at) => (missing(at.iteration) ? span(at.iterations) : [-Infinity, Number(at.iteration)]);

  // The state that an address names: of a problem and k, the last up to the iteration.
  function find(run, at) {
    const { states } = run;
    const number = run.problemNumber.get(at.problem);
    const [from, until] = seen(at);
    let best = -1;
    for (let i = 0; i < run.count; i += 1) {
      if (states.problem[i] !== number || states.iteration[i] < from || states.iteration[i] > until) continue;
      if (!missing(at.redacted) && states.k[i] !== Number(at.redacted)) continue;
      const training = run.training[states.kind[i]];
      if (at.iteration !== undefined && states.iteration[i] === until && training) return i;
      if (best < 0 || training >= run.training[states.kind[best]]) best = i;
    }
    return best;
  }

  // The address of a state, and of an action in it.
  const link = (run, number, action = null) => ({
    run: page.get().run ?? null, with: null, view: null,
    problem: run.problems[run.states.problem[number]].id,
    redacted: run.states.k[number],
    iteration: run.states.iteration[number],
    action,
  });

  // Rows of long lists have two lines on a phone.
  const rowHeight = () => (innerWidth > 640 ? 34 : 56);
  const rowHead = (kind, names) => page.el(`div.row.head.${kind}`, names.map(([name, note]) => page.el("span", { tip: note, tabindex: 0 }, name)));

  const FLAG_CLASS = {
    reached: "good", "there already": "", "on its way": "info", overshot: "warn", "taken back": "warn",
    "wrong way": "bad", vanished: "bad", "did not move": "bad", "other bits than the trainer's": "bad",
  };
  const FLAG_WORDS = {
    reached: "The logprob is at its target, or a little past it.",
    "there already": "It was so close to its target that it was not pulled.",
    "on its way": "It moved towards its target, and is still short of it.",
    overshot: "It went past its target by more than the tolerance.",
    "taken back": "All steps went too far, and were taken back bit for bit.",
    "wrong way": "It moved away from its target.",
    vanished: "It moved in exact arithmetic, and the move is gone at serving precision.",
    "did not move": "It has the very bits that it had before.",
    "other bits than the trainer's": "Trainer and sampler disagree on the logprob.",
  };
  const flagTag = (flag) =>
    flag ? page.el(`span.tag${FLAG_CLASS[flag] ? "." + FLAG_CLASS[flag] : ""}`, { tip: FLAG_WORDS[flag] ?? flag }, flag)
      : null;

  return { open, problem, state, actions, part, filtered, span, seen, find, link, flagTag, FLAG_WORDS, rowHeight, rowHead };
})();
