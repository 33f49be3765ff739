// Reads the address, loads what it names, and shows it; looks for changes where the page is live.
"use strict";

(() => {
  const { el, get, go, href, load, visible, missing } = page;
  const VIEWS = [["overview", "Overview"], ["solution", "Solution"], ["moves", "Moves"], ["audit", "Audit"], ["compare", "Compare"]];
  const POLL = 1500;
  let [index, tick, drawn, lost] = [null, 0, 0, false];
  const opened = new Map();

  async function open(entry) {
    const key = `${entry.number} ${entry.version}`;
    if (!opened.has(key)) {
      for (const old of opened.keys()) if (old.startsWith(`${entry.number} `)) opened.delete(old);
      opened.set(key, await page.run.open(entry));
    }
    return opened.get(key);
  }

  const viewOf = (at) => (VIEWS.some(([name]) => name === at.view) ? at.view : at.problem && at.redacted !== undefined || at.view === "solution" ? "solution" : "overview");
  const firstView = (run, at) => (run.count || at.view || !run.problems.length ? viewOf(at) : "solution");

  async function show() {
    const turn = (drawn += 1);
    const main = document.getElementById("main");
    if (!index || !index.runs) return main.replaceChildren(el("p.message", "The index of the data is missing: write the page again with python -m rl.dashboard."));
    const at = get();
    const entry = index.runs.find((one) => one.name === at.run) ?? index.runs[0];
    const run = await open(entry);
    if (turn !== drawn) return;
    if (!run) return main.replaceChildren(el("p.message", `The index of run ${visible(entry.name)} is missing.`));
    const view = firstView(run, at);
    const parts = await content(run, at, view);
    if (turn !== drawn) return;
    const wrong = run.messages.map((text) => el("p.message", { role: "status" }, visible(text)));
    const unknown = at.run && at.run !== entry.name ? [el("p.message", `There is no run called ${visible(at.run)} here; this is ${visible(entry.name)}.`)] : [];
    bar(run, at, view);
    const [x, y] = [scrollX, scrollY];
    const focus = remember();
    main.replaceChildren(...unknown, ...wrong, ...parts.flat(3).filter(Boolean));
    main.dataset.view = view;
    restore(focus);
    if (!focus.fresh) scrollTo(x, y);
    document.title = `${view === "solution" && at.problem ? `${at.problem} · ` : ""}${run.name} · training dashboard`;
    main.dataset.ready = String(drawn);
  }

  async function content(run, at, view) {
    if (view === "moves") return page.moves.show(run, at);
    if (view === "audit") return page.audit.show(run, at);
    if (view === "compare") return page.compare.show(run, at, index.runs, open);
    if (view === "overview") return page.overview.show(run, at);
    const problem = at.problem ?? run.problems[0]?.id;
    return problem ? page.solution.show(run, { ...at, problem }) : [el("p.soft", "No state was written down yet.")];
  }

  // What had the focus is found again by its place among its like.
  function remember() {
    const active = document.activeElement;
    if (!active || active === document.body || !document.getElementById("main").contains(active)) return { fresh: false };
    const label = active.getAttribute("href") ?? active.getAttribute("aria-label") ?? active.textContent;
    return { tag: active.tagName, label, fresh: false };
  }

  function restore({ tag, label }) {
    if (!tag) return;
    const same = [...document.querySelectorAll(`#main ${tag}`)].find((one) => (one.getAttribute("href") ?? one.getAttribute("aria-label") ?? one.textContent) === label);
    same?.focus({ preventScroll: true });
  }

  // ---------------------------------------------------------------- bar

  function bar(run, at, view) {
    const select = (label, value, options, act) => el("label.field", el("span.small.soft", label),
      el("select", { aria: { label }, on: { change: (event) => act(event.target.value || null) } }, options.map(([key, words]) => el("option", { value: key, selected: String(key) === String(value ?? "") || null }, visible(words)))));
    const ks = [...new Set(run.states.k)].sort((a, b) => a - b);
    const focus = document.activeElement?.closest?.("#bar") ? document.activeElement.closest("label")?.textContent?.slice(0, 6) : null;
    const runs = index.runs.length > 1
      ? select("run", run.name, index.runs.map((one) => [one.name, one.name]), (name) => go({ run: name }, { whole: true }))
      : el("span.run-name", visible(run.name));
    const filters = [
      select("problem", at.problem ?? (view === "solution" ? run.problems[0]?.id : null), [...(view === "solution" ? [] : [["", "all"]]), ...run.problems.map((one) => [one.id, one.id + (one.held_out ? " (held out)" : "")])], (id) => go({ problem: id, redacted: null, iteration: null, action: null })),
      select("k", at.redacted, [["", "all"], ...ks.map((k) => [k, String(k)])], (k) => go({ redacted: k, action: null })),
      el("label.field", el("span.small.soft", "iterations"), el("input.short", { aria: { label: "iterations" }, type: "text", inputmode: "numeric", placeholder: "all", value: at.iterations ?? "", on: { change: (event) => go({ iterations: event.target.value.replaceAll(" ", "").replace("–", "-") || null }) } })),
      select("verdict", at.verdict, [["", "all"], ...run.flags.map((flag) => [flag, flag])], (flag) => go({ verdict: flag })),
    ];
    const filtered = ["problem", "redacted", "iterations", "verdict"].some((name) => !missing(at[name]));
    document.getElementById("bar").replaceChildren(
      el("div.bar-top", el("h1", { title: visible(run.folder) }, "Training"), runs,
        el("span.soft.small.wide-only", [run.algorithm, run.model].filter(Boolean).map(visible).join(" · ")),
        index.live ? liveTag() : null,
        el("nav.tabs", { aria: { label: "Views" } }, VIEWS.map(([name, words]) => el("a", { href: href({ view: name, ...(name === "overview" ? { iteration: null, action: null } : {}) }), aria: name === view ? { current: "page" } : {} }, words)))),
      el("div.filters", { role: "search", aria: { label: "Filter of all views" } }, filters,
        filtered ? el("button", { on: { click: () => go({ problem: null, redacted: null, iterations: null, verdict: null, iteration: null, action: null }) } }, "clear") : null));
    if (focus) [...document.querySelectorAll("#bar label")].find((one) => one.textContent.startsWith(focus))?.querySelector("select, input")?.focus();
  }

  // ---------------------------------------------------------------- live

  const liveTag = () => (lost
    ? el("span.tag.bad.live", { role: "status", tabindex: 0, tip: "The server of this page does not answer: start python -m rl.dashboard again. What is shown is what was there." }, "not answering")
    : el("span.tag.good.live", { role: "status", tabindex: 0, tip: "This page follows the run: what it writes appears here." }, "live"));

  async function look() {
    tick += 1;
    const fresh = await load("index", `${Date.now()}${tick}`);
    if (lost !== !fresh?.runs) {
      lost = !lost;
      document.querySelector(".live")?.replaceWith(liveTag());
    }
    if (fresh?.runs && JSON.stringify(fresh) !== JSON.stringify(index)) {
      index = fresh;
      await show();
    }
    setTimeout(look, POLL);
  }

  page.onChange(show);
  (async () => {
    index = await load("index");
    await show();
    if (index?.live) setTimeout(look, POLL);
  })();
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) { width = innerWidth; show(); }
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
})();
