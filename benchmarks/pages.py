"""How quick are the pages on large data? Measured in a real browser: time, bytes and memory.

    python -m benchmarks.pages              # a drawn run of 2,000 states and 200,000 rollouts

A first view should take less than 2 s and 5 MB, any panel less than 200 ms, and all of it less than 300 MB of
the browser's memory (its JavaScript heap, and what the tab's process holds as its own).
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import tyro
from rich.console import Console
from rich.table import Table

from rl.dashboard.site import Dashboard
from rl.pages.server import PageServer
from tests.rl.browser import chromium
from tests.rl.large_run import write_large_run

RESULTS = Path(__file__).parent / "results" / "pages.json"
READY = "(turn) => Number(document.getElementById('main').dataset.ready ?? 0) > turn"
# How long from a change of the address until what it names is there and laid out, in the page's own time.
GO = """async (query) => {
  const main = document.getElementById("main");
  const turn = Number(main.dataset.ready);
  const begin = performance.now();
  page.go(Object.fromEntries(new URLSearchParams(query)), {whole: true});
  while (Number(main.dataset.ready) <= turn) await new Promise((resolve) => setTimeout(resolve, 1));
  main.getBoundingClientRect();
  return performance.now() - begin;
}"""


def main() -> None:
    """Measure, print a table and a JSON line, and save it."""
    with tempfile.TemporaryDirectory(prefix="pages-") as temporary:
        begin = time.perf_counter()
        run = write_large_run(Path(temporary) / "large", model=_tokenizer())
        drawn = time.perf_counter()
        Dashboard([run], Path(temporary) / "pages").update()
        written = time.perf_counter()
        with PageServer(Path(temporary) / "pages").running() as server, chromium() as browser:
            result = measure(browser, server.url, run)
    result["seconds to write the pages"] = round(written - drawn, 1)
    result["seconds to draw the run"] = round(drawn - begin, 1)
    table = Table("dashboard, 2,000 states, 200,000 rollouts", "measured", "limit")
    for name, value in result.items():
        limit = next((limit for word, limit in LIMITS.items() if name.startswith(word)), "")
        table.add_row(name, f"{value:,}", str(limit))
    Console().print(table)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result))


LIMITS = {"first view, ms": 2000, "first view, bytes": 5_000_000, "panel": 200, "memory": 300}


def measure(browser: Any, url: str, run: Path) -> dict[str, float]:
    """Open the page, go through its panels, and read the browser's counters."""
    page = browser.new_context(viewport={"width": 1440, "height": 900}).new_page()
    client = page.context.new_cdp_session(page)
    client.send("Network.enable")
    client.send("Performance.enable")
    received: list[int] = []
    client.on("Network.loadingFinished", lambda event: received.append(event["encodedDataLength"]))
    begin = time.perf_counter()
    page.goto(url)
    page.wait_for_function(READY, arg=0)
    result: dict[str, float] = {"first view, ms": round(1000 * (time.perf_counter() - begin))}
    result["first view, bytes"] = int(sum(received))
    first = json.loads((run / "journal.jsonl").open().readline())["state"]["problem_id"]
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
    for name, query in panels.items():
        result[f"panel: {name}, ms"] = round(page.evaluate(GO, query))
    result["panel: the slowest of 40 states, ms"] = max(
        round(page.evaluate(GO, f"problem={first}&view=solution&iteration={i}")) for i in range(1, 41)
    )
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


def _tokenizer() -> Path:
    from minillm.checkpoint.hub import DEMO_MODEL, resolve

    return resolve(DEMO_MODEL)


if __name__ == "__main__":
    tyro.cli(main, description=__doc__)
