// What pages share: chunks of data, the address as the state, elements made of text, tips, long lists, numbers.
"use strict";

const page = (() => {
  // ---------------------------------------------------------------- chunks

  const chunks = new Map(); // name -> {promise, done}
  const KEPT = 24;
  let arrived = null;

  // Called by a chunk's own script.
  function chunk(name, text) {
    arrived = { name, data: JSON.parse(text) };
  }

  // Loads a chunk of data, once per version; resolves to null where there is none.
  function load(name, version = 0) {
    const key = `${name}?${version}`;
    const known = chunks.get(key);
    if (known) {
      chunks.delete(key);
      chunks.set(key, known);
      return known;
    }
    const promise = new Promise((resolve) => {
      const script = document.createElement("script");
      script.src = `data/${name}.js` + (version ? `?v=${version}` : "");
      script.onload = () => {
        script.remove();
        // A script runs just before its load event, so what arrived last is its data.
        resolve(arrived && arrived.name === name ? arrived.data : null);
        arrived = null;
      };
      script.onerror = () => {
        script.remove();
        chunks.delete(key);
        resolve(null);
      };
      document.head.append(script);
    });
    chunks.set(key, promise);
    while (chunks.size > KEPT) chunks.delete(chunks.keys().next().value);
    return promise;
  }

  // ---------------------------------------------------------------- the address

  const listeners = [];
  const get = () => Object.fromEntries(new URLSearchParams(location.search));

  function href(patch, whole = false) {
    const values = whole ? { ...patch } : { ...get(), ...patch };
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(values)) {
      if (value !== null && value !== undefined && value !== "") query.set(name, value);
    }
    return `?${query}`;
  }

  // Changes some values of the address (null takes one away), and shows what it says then.
  function go(patch, { replace = false, whole = false } = {}) {
    const target = href(patch, whole);
    if (target === (location.search || "?")) return;
    history[replace ? "replaceState" : "pushState"](null, "", target);
    changed();
  }

  function changed() {
    hideTip();
    for (const listener of listeners) listener(get());
  }
  const onChange = (listener) => listeners.push(listener);
  addEventListener("popstate", changed);

  // Links within the page change the address alone.
  addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href^='?']");
    if (!link || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
    event.preventDefault();
    go(Object.fromEntries(new URLSearchParams(link.getAttribute("href"))), { whole: true });
  });

  // ---------------------------------------------------------------- elements

  // el("a.name", {href, on: {click}, aria: {label}, data: {n}, style: {"--x": 1}}, ...texts and elements)
  function el(kind, options = {}, ...children) {
    const [tag, ...classes] = kind.split(".");
    const made = SVG_TAGS.has(tag)
      ? document.createElementNS("http://www.w3.org/2000/svg", tag)
      : document.createElement(tag || "div");
    if (classes.length) made.setAttribute("class", classes.join(" "));
    if (options instanceof Node || typeof options !== "object" || options === null || Array.isArray(options)) {
      children.unshift(options);
      options = {};
    }
    for (const [name, value] of Object.entries(options)) {
      if (value === null || value === undefined || value === false) continue;
      if (name === "on") for (const [event, act] of Object.entries(value)) made.addEventListener(event, act);
      else if (name === "aria") for (const [key, word] of Object.entries(value)) made.setAttribute(`aria-${key}`, word);
      else if (name === "data") Object.assign(made.dataset, value);
      else if (name === "style") for (const [key, word] of Object.entries(value)) made.style.setProperty(key, word);
      else if (name === "tip") tip(made, value);
      else made.setAttribute(name, value === true ? "" : value);
    }
    made.append(...children.flat(4).filter((child) => child !== null && child !== undefined && child !== false));
    return made;
  }
  const SVG_TAGS = new Set(["svg", "path", "g", "line", "rect", "circle", "text", "polyline"]);

  // Text of a model or a file, with control characters and marks of direction as symbols.
  const HIDDEN = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\u{e0000}-\u{e0fff}]/gu;
  function visible(text) {
    return String(text).replace(HIDDEN, (mark) => {
      const code = mark.codePointAt(0);
      if (code < 32) return String.fromCodePoint(0x2400 + code);
      if (code === 127) return "\u2421";
      return `\u2039U+${code.toString(16).toUpperCase().padStart(4, "0")}\u203a`;
    });
  }

  // ---------------------------------------------------------------- tips

  const bubble = el("div.tip", { role: "tooltip", id: "tip", hidden: true });
  const tips = new WeakMap();
  let tipOwner = null;

  // Explains an element on hover and on focus: text, elements, or a function that makes them.
  function tip(element, content) {
    tips.set(element, content);
    element.dataset.tip = "";
  }

  function showTip(element) {
    if (tipOwner === element) return;
    tipOwner = element;
    const content = tips.get(element);
    const made = typeof content === "function" ? content(element) : content;
    if (made === null || made === undefined) return hideTip();
    bubble.replaceChildren(...[made].flat());
    if (!bubble.isConnected) document.body.append(bubble);
    bubble.hidden = false;
    element.setAttribute("aria-describedby", "tip");
    placeTip(element.getClientRects()[0] ?? element.getBoundingClientRect());
  }

  function placeTip(box) {
    const [width, height] = [bubble.offsetWidth, bubble.offsetHeight];
    const left = Math.max(8, Math.min(box.left, innerWidth - width - 8));
    const below = box.bottom + 8;
    const top = below + height > innerHeight - 8 && box.top - height - 8 > 8 ? box.top - height - 8 : below;
    bubble.style.left = `${left}px`;
    bubble.style.top = `${Math.max(8, Math.min(top, innerHeight - height - 8))}px`;
  }

  // A tip beside a point, of what a canvas shows there.
  function tipAt(x, y, content) {
    if (content === null) return hideTip();
    tipOwner = null;
    bubble.replaceChildren(...[content].flat());
    if (!bubble.isConnected) document.body.append(bubble);
    bubble.hidden = false;
    placeTip({ left: x + 12, bottom: y + 8, top: y - 8 });
  }

  function hideTip() {
    if (tipOwner) tipOwner.removeAttribute("aria-describedby");
    tipOwner = null;
    bubble.hidden = true;
  }

  const owner = (event) => event.target.closest?.("[data-tip]");
  for (const name of ["pointerover", "focusin"]) {
    addEventListener(name, (event) => {
      const element = owner(event);
      if (element) showTip(element);
      else if (name === "pointerover" && tipOwner) hideTip();
    });
  }
  addEventListener("focusout", hideTip);
  addEventListener("scroll", hideTip, true);
  addEventListener("keydown", (event) => event.key === "Escape" && hideTip());

  // Rows of names and numbers, for tips; `notes` lets a row's third part explain it, where that can be reached.
  function facts(rows, { notes = false } = {}) {
    const shown = rows.filter((row) => row && row[1] !== null && row[1] !== undefined);
    return el("dl.facts", shown.map(([name, value, note]) => [el("dt", notes && note ? { tip: note, tabindex: 0 } : {}, name), el("dd", value)]));
  }

  // ---------------------------------------------------------------- lists

  // A list of `count` rows, of which those in sight are there; row(i) makes one, `height` pixels high.
  function longList({ label, count, height, row, most = 480, selected = -1 }) {
    const sizer = el("div.sizer", { role: "presentation", style: { height: `${count * height}px` } });
    const list = el(
      "div.long-list",
      { role: "list", tabindex: 0, aria: { label }, style: { height: `${Math.min(most, count * height)}px` } },
      sizer,
    );
    let from = -1;
    let to = -1;
    function draw() {
      const first = Math.max(0, Math.floor(list.scrollTop / height) - 6);
      const last = Math.min(count, Math.ceil((list.scrollTop + (list.clientHeight || most)) / height) + 6);
      if (first === from && last === to) return;
      [from, to] = [first, last];
      const focused = document.activeElement?.closest?.(".long-row")?.dataset.row;
      const rows = [];
      for (let i = first; i < last; i += 1) {
        rows.push(
          el(
            "div.long-row",
            { role: "listitem", aria: { setsize: count, posinset: i + 1 }, data: { row: i },
              style: { top: `${i * height}px`, height: `${height}px` } },
            row(i),
          ),
        );
      }
      sizer.replaceChildren(...rows);
      if (focused !== undefined) rows[focused - first]?.querySelector("a, button")?.focus({ preventScroll: true });
    }
    list.addEventListener("scroll", draw);
    arrows(list, "a, button");
    draw();
    requestAnimationFrame(() => {
      if (selected >= 0) list.scrollTop = Math.max(0, selected * height - list.clientHeight / 2);
      draw();
    });
    return list;
  }

  // Arrow keys go from one of the elements inside to the next.
  function arrows(parent, selector, { columns = () => 1 } = {}) {
    parent.addEventListener("keydown", (event) => {
      const step = { ArrowDown: columns(), ArrowUp: -columns(), ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const all = [...parent.querySelectorAll(selector)];
      const here = all.indexOf(document.activeElement);
      const end = { Home: 0, End: all.length - 1 }[event.key];
      if ((step === undefined && end === undefined) || (here < 0 && event.target !== parent)) return;
      const next = all[end ?? (here < 0 ? 0 : here + step)];
      if (!next) return;
      event.preventDefault();
      next.focus();
      next.scrollIntoView({ block: "nearest", inline: "nearest" });
    });
  }

  // ---------------------------------------------------------------- numbers and colours

  const missing = (x) => x === null || x === undefined || Number.isNaN(x);
  const fixed = (x, digits = 2) => (missing(x) ? "–" : x.toFixed(digits).replace("-", "−"));
  const signed = (x, digits = 3) => (missing(x) ? "–" : (x > 0 ? "+" : "") + fixed(x, digits));
  const percent = (x) => (missing(x) ? "–" : `${(100 * x).toFixed(x < 0.0995 && x > 0 ? 1 : 0)}%`);
  const whole = (x) => (missing(x) ? "–" : Math.round(x).toLocaleString("en"));
  function short(x) {
    if (missing(x)) return "–";
    if (Number.isInteger(x) && Math.abs(x) < 1e6) return whole(x).replace("-", "−");
    const size = Math.abs(x);
    if (size >= 999.5 && size < 1e6) return whole(x).replace("-", "−");
    return (size !== 0 && (size < 1e-3 || size >= 1e6) ? x.toExponential(2) : x.toPrecision(3)).replaceAll("-", "−");
  }
  const plural = (count, word) => `${whole(count)} ${word}${count === 1 ? "" : "s"}`;

  const style = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  // Copies text, and says so on the button.
  async function copy(text, button) {
    const words = button.textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "copied";
    } catch {
      // Not every browser lets a page of a file write there.
      const area = el("textarea", { aria: { label: "text to copy" } });
      area.value = text;
      document.body.append(area);
      area.select();
      button.textContent = document.execCommand("copy") ? "copied" : "could not copy";
      area.remove();
    }
    setTimeout(() => (button.textContent = words), 1500);
  }

  return {
    chunk, load, get, go, href, onChange, changed, el, visible, tip, tipAt, hideTip, facts, longList, arrows,
    missing, fixed, signed, percent, whole, short, plural, style, copy,
  };
})();

const chunk = page.chunk;
