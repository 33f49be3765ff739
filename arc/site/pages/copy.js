// A task as text to paste elsewhere: JSON in ARC's layout, a Python program, the prompt.
"use strict";

const copy = {
  json(task) {
    const pairs = (part) => part.map(([input, output]) => (
      output ? { input: page.grid.read(input), output: page.grid.read(output) } : { input: page.grid.read(input) }));
    return `${JSON.stringify({ train: pairs(task.train), test: pairs(task.test) })}\n`;
  },

  // The pairs as Python, then the golden solution and a loop that asks it for each.
  python(task) {
    const grid = (text) => JSON.stringify(page.grid.read(text)).replaceAll("],[", "],\n         [").replaceAll(",", ", ").replaceAll(", \n", ",\n");
    const list = (name, pairs) => `${name} = [\n${pairs.map(([a, b]) => `    (\n        ${grid(a)},\n        ${b ? grid(b) : "None"},\n    ),\n`).join("")}]\n`;
    const data = `# ARC task ${page.visible(task.id).replace(/\s+/g, " ")}: pairs of input and output.\n${list("train", task.train)}${list("test", task.test)}`;
    if (!task.golden) return data;
    return `${data}\n\n${copy.source(task)}\n\nfor given, expected in train + test:\n    print(solve(given) == expected)\n`;
  },

  source(task) {
    return `${task.golden.lines.map((line) => line.filter((_, i) => i % 2).join("")).join("\n")}\n`;
  },

  prompt(task) {
    return task.prompt;
  },

  // A button that copies what `make` gives.
  button(words, what, make) {
    return page.el("button", { type: "button", aria: { label: `Copy ${what}` }, on: { click: (event) => copy.put(make(), what, event.currentTarget) } }, words);
  },

  async put(text, what, button) {
    await page.copy(text, button);
    copy.say(button.textContent === "copied" ? `Copied ${what}, ${page.whole(text.length)} characters` : "This browser does not let the page copy");
  },

  say(sentence) {
    const place = document.getElementById("said");
    place.textContent = sentence;
    place.classList.add("on");
    clearTimeout(copy.timer);
    copy.timer = setTimeout(() => place.classList.remove("on"), 2200);
  },
};
