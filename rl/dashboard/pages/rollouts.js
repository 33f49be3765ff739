// What followed an action: rollouts of one text as one, against the golden solution, and what they did.
"use strict";

page.rollouts = (() => {
  const { el, get, go, missing, fixed, whole, visible } = page;
  const SHOWN = 4000; // characters of a long text before it is unfolded

  function show(run, data, state, chosen) {
    const action = state.actions[chosen];
    const total = data.golden.length + data.missing;
    const from = total - state.k + (missing(action.token_id) ? 0 : 1);
    const golden = data.golden.slice(from).map(data.text).join("");
    const wanted = get().reward;
    const groups = action.groups.filter((group) => !wanted || (group.reward === 1) === (wanted === "1"));
    const list = el("div.groups", groups.slice(0, 12).map((group) => one(data, state, group, golden)));
    const rest = groups.slice(12);
    if (rest.length) {
      list.append(el("button", { on: { click: (event) => {
        event.currentTarget.replaceWith(...rest.splice(0, 200).map((group) => one(data, state, group, golden)));
      } } }, `show ${whole(rest.length)} more`));
    }
    const choose = (value, words) => el("button", { aria: { pressed: String((wanted ?? "") === value) }, on: { click: () => go({ reward: value || null }, { replace: true }) } }, words);
    return el("section.card", { aria: { label: "Rollouts" } },
      el("header", el("h2", "Rollouts"), el("span.soft.small", "after ", el("span.mono.ltr", page.state.name(state, action)), `: ${whole(action.trials)}, ${page.plural(action.groups.length, "different text")}; changes against the golden solution are marked`),
        el("span.segments.end", { role: "group", aria: { label: "Which rollouts" } }, choose("", "all"), choose("1", "earned 1"), choose("0", "did not"))),
      groups.length ? list : el("p.soft", "No rollout is left."));
  }

  function one(data, state, group, golden) {
    const same = group.text === golden;
    const body = el("pre.code.ltr", { tabindex: 0, role: "group", aria: { label: "text of the rollout" } });
    const long = group.text.length > SHOWN;
    const parts = (text) => (same ? [visible(text)] : diff(golden.slice(0, 20000), text));
    body.append(...parts(long ? group.text.slice(0, SHOWN) : group.text));
    const more = long ? el("button", { on: { click: () => { body.replaceChildren(visible(group.text)); more.remove(); } } }, `show all ${whole(group.text.length)} characters`) : null;
    return el("article.group",
      el("header", el(`span.tag${group.reward === 1 ? ".good" : group.reward === 0 ? ".bad" : ".warn"}`, `${group.count}× reward ${page.short(group.reward)}`),
        same ? el("span.tag.info", "golden") : null,
        el("span.soft.small", `${page.plural(group.ids.length, "token")}, ended by ${visible(group.finish)}${group.ways > 1 ? `, written in ${group.ways} ways` : ""}`),
        el("span.soft.small", { tip: () => tokens(state, group), tabindex: 0 }, `logprob ${fixed(group.logprobs.reduce((a, b) => a + b, 0))}`)),
      body, more, failure(data, group.failure));
  }

  const tokens = (state, group) => [el("span.soft", "the rollout's logprobs"),
    page.facts(group.ids.slice(0, 24).map((id, i) => [visible(state.text(id)).replaceAll("\n", "⏎"), fixed(group.logprobs[i], 3)]))];

  // ---------------------------------------------------------------- what it did

  function failure(data, failed) {
    if (!failed) return null;
    const found = missing(failed.case) ? null : data.cases[failed.case];
    const error = failed.error ? el("p.error", visible(failed.error)) : null;
    // What a program that broke off had before it is the task's, and stands in the prompt.
    if (!found || (error && missing(failed.produced))) return error;
    const { isGrid, draw, difference } = page.grid;
    const value = (title, content) => el("figure", el("figcaption.soft.small", title),
      isGrid(content) ? draw(content, { most: 150, label: title }) : el("pre.code.ltr", visible(content)));
    const shown = [value(`${visible(found.name)}: input`, found.input), value("expected", found.expected)];
    if (!missing(failed.produced)) {
      shown.push(value("produced", failed.produced));
      if (isGrid(failed.produced) && isGrid(found.expected)) {
        const { canvas, wrong, cells } = difference(found.expected, failed.produced, { most: 150 });
        shown.push(el("figure", el("figcaption.soft.small", `difference: ${wrong} of ${cells}`), canvas));
      }
    }
    return el("div.failure", error, el("div.figures", shown));
  }

  // ---------------------------------------------------------------- difference

  // What is taken from `before` and added in `after`, by words; elements to show.
  function diff(before, after) {
    const words = (text) => text.match(/\n|[^\S\n]+|\w+|[^\w\s]/gu) ?? [];
    const [a, b] = [words(before), words(after)];
    let start = 0;
    while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
    let end = 0;
    while (end < a.length - start && end < b.length - start && a[a.length - 1 - end] === b[b.length - 1 - end]) end += 1;
    const [x, y] = [a.slice(start, a.length - end), b.slice(start, b.length - end)];
    const parts = [[0, a.slice(0, start)], ...middle(x, y), [0, end ? a.slice(-end) : []]];
    return parts.filter(([, list]) => list.length).map(([kind, list]) => {
      const text = visible(list.join(""));
      return kind === 0 ? text : el(kind < 0 ? "del" : "ins", text);
    });
  }

  function middle(x, y) {
    if (!x.length || !y.length || x.length * y.length > 1e6) return [[-1, x], [1, y]];
    const wide = y.length + 1;
    const table = new Uint16Array((x.length + 1) * wide);
    for (let i = x.length - 1; i >= 0; i -= 1) {
      for (let j = y.length - 1; j >= 0; j -= 1) {
        table[i * wide + j] = x[i] === y[j] ? table[(i + 1) * wide + j + 1] + 1 : Math.max(table[(i + 1) * wide + j], table[i * wide + j + 1]);
      }
    }
    const parts = [];
    const add = (kind, word) => (parts.at(-1)?.[0] === kind ? parts.at(-1)[1].push(word) : parts.push([kind, [word]]));
    let [i, j] = [0, 0];
    while (i < x.length || j < y.length) {
      if (i < x.length && j < y.length && x[i] === y[j]) { add(0, x[i]); i += 1; j += 1; }
      else if (i < x.length && (j === y.length || table[(i + 1) * wide + j] >= table[i * wide + j + 1])) { add(-1, x[i]); i += 1; }
      else { add(1, y[j]); j += 1; }
    }
    return parts;
  }

  return { show, diff };
})();
