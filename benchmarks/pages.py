"""How quick are the pages on large data? Measured in a real browser: time, bytes and memory.

    python -m benchmarks.pages              # a drawn run of 2,000 states and 200,000 rollouts; all ARC tasks
    python -m benchmarks.pages arc          # one of the two

A first view should take less than 2 s and 5 MB, any panel less than 200 ms, and all of it less than 300 MB of
the browser's memory (its JavaScript heap, and what the tab's process holds as its own).
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table

from arc.site.__main__ import Config
from arc.site.__main__ import write as write_site
from arc.tasks import golden_ids
from benchmarks.record import RESULTS, machine
from minillm.checkpoint.hub import DEMO_MODEL, resolve
from rl.dashboard.site import Dashboard
from rl.pages.server import PageServer
from tests.rl.browser import chromium
from tests.rl.large_run import write_large_run

LIMITS = {"first view, ms": 2000, "first view, bytes": 5_000_000, "panel": 200, "memory": 300}
# How long from a change of the address until what it names is there and laid out, in the page's own time.
_GO = """async (query) => {
  const before = performance.now();
  const turn = Number(document.getElementById("main")?.dataset.ready);
  page.go(Object.fromEntries(new URLSearchParams(query)), {whole: true});
  await (SHOWN)(turn);
  document.body.getBoundingClientRect();
  return performance.now() - before;
}"""
_STATES = """async (turn) => {
  const ready = () => Number(document.getElementById("main")?.dataset.ready ?? 0);
  while (!(ready() > turn)) await new Promise((resolve) => setTimeout(resolve, 1));
}"""
# A task's grids are drawn when it is shown; of a list, the pictures that are in sight.
_TASKS = """async () => {
  while (typeof site === "undefined" || !list.byId) await new Promise((resolve) => setTimeout(resolve, 1));
  await site.shown;
  const seen = (card) => {
    const box = card.getBoundingClientRect();
    return box.bottom > 0 && box.top < innerHeight;
  };
  const listed = () => (document.getElementById("list").hidden ? [] : [...cards.place.children]);
  const drawn = () => listed().filter(seen).every((card) => card.picture.width);
  while (!drawn()) await new Promise((resolve) => setTimeout(resolve, 1));
}"""


@dataclass(frozen=True)
class Pages:
    """Some pages in a folder: what waits until an address is shown, and addresses by name."""

    folder: Path
    shown: str
    panels: dict[str, str]
    slowest: tuple[str, list[str]]
    """A name, and addresses of which the slowest counts."""
    seconds: float
    """How long it took to write them."""


def dashboard(temporary: Path) -> Pages:
    """Draw a large run and write its dashboard."""
    run = write_large_run(temporary / "large", model=resolve(DEMO_MODEL))
    begin = time.perf_counter()
    Dashboard([run], temporary / "pages").update()
    seconds = time.perf_counter() - begin
    with (run / "journal.jsonl").open() as journal:
        first = json.loads(journal.readline())["state"]["problem_id"]
    panels = {
        "one problem's heat map": f"problem={first}",
        "solution and state": f"problem={first}&redacted=4",
        "another action": f"problem={first}&redacted=4&action=2",
        "another colour": f"problem={first}&redacted=4&action=2&colour=entropy",
        "another state": f"problem={first}&redacted=9",
        "moves": "view=moves",
        "moves of one verdict": "view=moves&verdict=vanished",
        "compare": f"view=compare&problem={first}&redacted=4",
        "overview of some iterations": "iterations=10-30",
        "overview": "",
    }
    states = [f"problem={first}&view=solution&iteration={i}" for i in range(1, 41)]
    return Pages(temporary / "pages", _STATES, panels, ("40 states", states), seconds)


def arc(temporary: Path) -> Pages:
    """Write the ARC browser with all tasks."""
    begin = time.perf_counter()
    write_site(Config(out=temporary / "arc"), Console(stderr=True))
    seconds = time.perf_counter() - begin
    panels = {
        "a task": "task=6773b310",
        "its digits, outputs, docstring": "task=6773b310&digits=1&outputs=1&doc=1&step=2",
        "the largest grids": "task=898e7135&outputs=1&digits=1",
        "back to the list": "",
        "search by id": "q=6773",
        "search that leaves 900": "q=a",
        "search in vain": "q=6773b319",
        "a kind": "kind=rays",
        "three colours": "colors=238",
        "a size and a set": "size=500-900&set=arc2-evaluation",
        "those without a solution": "solution=no",
        "sorted by the largest grid": "sort=cells",
        "all tasks": "",
    }
    tasks = [f"task={task}" for task in golden_ids()[::8]]
    return Pages(temporary / "arc", _TASKS, panels, (f"{len(tasks)} tasks", tasks), seconds)


PAGES: dict[str, Callable[[Path], Pages]] = {"dashboard": dashboard, "arc": arc}


def main(names: tyro.conf.Positional[tuple[str, ...]] = ()) -> int:
    """Measure, print tables and a JSON line, and save it; returns the exit status."""
    if unknown := set(names) - set(PAGES):
        print(f"error: no pages are called {min(unknown)}; there are {', '.join(PAGES)}", file=sys.stderr)
        return 2
    path, console = RESULTS / "pages.json", Console()
    known = json.loads(path.read_text()) if path.exists() else {}
    record: dict[str, Any] = {"benchmark": "pages", **{name: known[name] for name in PAGES if name in known}}
    for name in names or PAGES:
        with tempfile.TemporaryDirectory(prefix="pages-") as temporary:
            pages = PAGES[name](Path(temporary))
            with PageServer(pages.folder).running() as server, chromium() as browser:
                figures = measure(browser, server.url, pages)
                figures["seconds to write the pages"] = round(pages.seconds, 1)
                record[name] = {"machine": machine() | {"chromium": browser.version}, **figures}
        console.print(table(name, figures))
    path.write_text(json.dumps(record, indent=1) + "\n")
    print(json.dumps(record))
    return 0


def table(name: str, figures: dict[str, float]) -> Table:
    """Set figures beside their limits."""
    result = Table(name, "measured", "limit")
    for what, value in figures.items():
        limit = next((limit for word, limit in LIMITS.items() if what.startswith(word)), None)
        over = "[red]" if limit is not None and value > limit else ""
        result.add_row(what, f"{over}{value:,}", "" if limit is None else f"{limit:,}")
    return result


def measure(browser: Any, url: str, pages: Pages) -> dict[str, float]:
    """Open the page, go through its panels, and read the browser's counters."""
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    client = page.context.new_cdp_session(page)
    client.send("Network.enable")
    client.send("Performance.enable")
    received: list[int] = []
    client.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
    begin = time.perf_counter()
    page.goto(url)
    page.evaluate(pages.shown, 0)
    result: dict[str, float] = {"first view, ms": round(1000 * (time.perf_counter() - begin))}
    result["first view, bytes"] = int(sum(received))
    go = _GO.replace("SHOWN", pages.shown)
    for name, query in pages.panels.items():
        result[f"panel: {name}, ms"] = round(page.evaluate(go, query))
    name, queries = pages.slowest
    result[f"panel: the slowest of {name}, ms"] = max(round(page.evaluate(go, query)) for query in queries)
    metrics = {m["name"]: m["value"] for m in client.send("Performance.getMetrics")["metrics"]}
    result["memory, MB of JavaScript"] = round(metrics["JSHeapTotalSize"] / 1e6, 1)
    result["memory, MB of the tab's process"] = round(_own_memory(browser) / 1e6, 1)
    return result


def _own_memory(browser: Any) -> int:
    """Read what the largest renderer process holds as its own: resident, and not shared with others."""
    session = browser.new_browser_cdp_session()
    processes = session.send("SystemInfo.getProcessInfo")["processInfo"]
    return max(_private(process["id"]) for process in processes if process["type"] == "renderer")


def _private(process: int) -> int:
    lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    sizes = {line.split(":")[0]: int(line.split()[1]) for line in lines[1:]}
    return 1024 * (sizes["Private_Clean"] + sizes["Private_Dirty"])


if __name__ == "__main__":
    sys.exit(tyro.cli(main, description=__doc__))
