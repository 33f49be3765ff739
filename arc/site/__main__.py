"""Write the ARC browser: pages of all tasks and golden solutions that open from a folder, or serve them.

python -m arc.site                            # into runs/arc-site; open its index.html
python -m arc.site --serve                    # and at http://127.0.0.1:8040
python -m arc.site --zip arc-site.zip         # and as one file that can be sent; unpack it, open index.html
python -m arc.site mytasks/ --golden mine/ --out pages
python -m arc.site --check                    # check solutions that were not, and save what was found
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from rich.console import Console
from rich.progress import track

from arc.errors import ArcError
from arc.interrupt import one_line_on_interrupt
from arc.prompt import ASSISTANT_PREFIX, messages
from arc.sandbox import Limits
from arc.site.build import Site
from arc.site.findings import find, read_findings, write_findings
from arc.site.records import Tokens
from arc.tasks import Task, read_tasks
from minillm.checkpoint.hub import DEMO_MODEL
from minillm.errors import MinillmError
from rl.pages.chunks import zip_pages
from rl.pages.server import PageServer


@dataclass(frozen=True)
class Config:
    """Options of `arc.site`.

    Attributes:
        tasks: task ids, "all", "golden", a set's name, or files and folders of tasks.
        out: folder of the pages.
        zip: a file to put that folder into as well.
        serve: serve them to this machine's browsers, until ctrl-C.
        port: where.
        golden: a folder of golden solutions of one's own, `<task id>.py`; by default those that ship.
        check: check solutions that were not checked yet, seconds for each, and save that beside them.
        model: whose tokens are counted.
        limits: of each run of a solution in the sandbox.
    """

    tasks: Annotated[tuple[str, ...], tyro.conf.Positional] = ("all",)
    out: Path = Path("runs/arc-site")
    zip: Path | None = None
    serve: bool = False
    port: int = 8040
    golden: Path | None = None
    check: bool = False
    model: str = DEMO_MODEL
    limits: Limits = field(default_factory=lambda: Limits(seconds=10.0))


def write(config: Config, console: Console) -> Site:
    """Write the pages. Raises `ArcError` and `MinillmError` for what one can mend."""
    site = Site(config.out, read_tasks(config.tasks, config.golden), config.golden)
    with console.status(f"writing {len(site.tasks)} tasks"):
        findings = read_findings(config.golden)
        site.write(findings, _tokens(config.model), config.limits)
    solved, place = len(site.sources), config.out / "index.html"
    console.print(f"{len(site.tasks)} tasks, {solved} with a golden solution: open {place}", soft_wrap=True)
    if missing := site.unchecked():
        if config.check:
            for task in track(missing, "checking", console=console, transient=True):
                findings[task.id] = find(task, site.sources[task.id], config.golden)
                write_findings(findings.values(), config.golden)
                site.add(task, findings[task.id])
        else:
            console.print(f"{len(missing)} solutions were not checked; --check does it", soft_wrap=True)
    if config.zip is not None:
        zip_pages(config.out, config.zip)
        console.print(f"{config.zip}: unpack it, and open index.html", soft_wrap=True)
    return site


def _tokens(model: str) -> Tokens:
    from minillm import Tokenizer  # here, since it is slow to import
    from minillm.checkpoint.hub import resolve_tokenizer

    tokenizer = Tokenizer.from_folder(resolve_tokenizer(model))

    def text(words: str) -> int:
        return len(tokenizer.encode(words, add_special_tokens=False))

    def prompt(task: Task) -> int:
        return len(tokenizer.encode_chat(messages(task))) + text(ASSISTANT_PREFIX)

    return Tokens(model, text, prompt)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    config = tyro.cli(Config, description=__doc__, args=arguments)
    with one_line_on_interrupt("stopped"):
        try:
            write(config, Console(stderr=True))
            if config.serve:
                with PageServer(config.out, config.port) as server:
                    print(f"at {server.url}, until ctrl-C", flush=True)
                    server.serve_forever()
        except (ArcError, MinillmError) as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
