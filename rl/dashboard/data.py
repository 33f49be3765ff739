"""A run's folder as chunks of data for the page, and again after each thing that it writes.

    data/index.js               the runs: number, name, version of their index
    data/<run>/index.js         numbers of each iteration; each state in a few columns; problems; messages
    data/<run>/problem-<n>.js   tokens of a problem's prompt and solution; golden actions of its states
    data/<run>/states-<n>.js    some states with all actions and rollouts
    data/<run>/actions.js       all actions in columns
    data/<run>/audit.js         audits

A chunk that may still change is asked for with a version, which the run's index has.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from minillm.errors import MinillmError
from rl.dashboard.atlases import find_atlas, iteration_of, least_rollouts, problem_files, rows_of, texts_of
from rl.dashboard.audits import audit_files, read_audit
from rl.dashboard.columns import ACTION_COLUMNS, GOLDEN_COLUMNS, STATE_COLUMNS
from rl.dashboard.journal_reader import JournalReader
from rl.dashboard.records import Facts, Record, golden_action, ids_of, rollouts_of, shown, value_of
from rl.dashboard.tokens import Tokens
from rl.looks import LOOKS, read_looks
from rl.metrics import METRICS, read_metrics
from rl.pages.chunks import write_chunk
from rl.run_folder import read_json

CHUNK_BYTES = 200_000


class RunData:
    """One run's chunks in a folder of pages.

    Args:
        folder: the run's.
        pages: the folder of pages.
        number: names the run's chunks.
    """

    def __init__(self, folder: Path, pages: Path, number: int) -> None:
        self.folder, self.pages, self.number = folder, pages, number
        self.name = folder.resolve().name
        self.version = 0
        self._journal, self._tokens = JournalReader(folder), Tokens()
        self._seen: Any = None
        self._clear()

    def _clear(self) -> None:
        self._problems: dict[str, Facts] = {}
        self._kinds: list[str] = []
        self._flags: list[str] = []
        self._states: dict[str, list[Any]] = {name: [] for name in STATE_COLUMNS}
        self._actions: dict[str, list[Any]] = {name: [] for name in ACTION_COLUMNS}
        self._golden: dict[str, dict[str, list[Any]]] = {}
        self._chunk, self._open, self._open_bytes = 0, list[dict[str, Any]](), 0
        self._audits: dict[int, tuple[int, dict[str, Any]]] = {}
        self._odd: list[str] = []  # sentences on entries that were left out
        self._looks: Any = None
        self._damaged_looks = False

    def update(self) -> bool:
        """Read what is new, and write what changed; tell whether anything did."""
        restarts = self._journal.restarts
        records = self._journal.read()
        if self._journal.restarts > restarts:
            self._clear()
        model = self._journal.config.get("model")
        named = self._tokens.find(self.folder, model) if self._journal.config else False
        stamps = [_stamp(self.folder / name) for name in (LOOKS, METRICS)]
        audits = {number: _stamp(path) for number, path in audit_files(self.folder).items()}
        atlas = find_atlas(self.folder)
        maps = {path: _stamp(path) for path in problem_files(atlas)}
        seen = (stamps, audits, maps, self._journal.problems, self._journal.restarts, self._journal.config)
        if not records and not named and seen == self._seen:
            return False
        self._seen = seen
        self.version += 1
        # A folder that is an atlas alone is no run, and need not be one.
        messages = [] if atlas == self.folder else list(self._journal.problems)
        changed = self._learn()
        self._say(messages)
        for record in records:
            try:
                changed.add(self._take(record))
            except (KeyError, TypeError, IndexError, AttributeError, ValueError, MinillmError) as error:
                kind = str(record.get("kind"))
                self._odd.append(f"An entry of kind {kind!r} is not one of this version: {error}.")
        messages += self._odd
        changed |= self._read_atlas(list(maps), messages)
        self._flush(last=True)
        for name in changed:
            self._write_problem(self._problems[name])
        self._write("actions", {**self._actions, "texts": self._tokens.table(self._actions["token"])})
        self._write_audits(audits, messages)
        self._write_index(model, messages)
        return True

    # ---------------------------------------------------------------- records

    def _say(self, messages: list[str]) -> None:
        """Say what is wrong with `looks.jsonl`."""
        if self._journal.config and not (self.folder / LOOKS).exists():
            messages.append(
                f"This run left no {LOOKS}: where prompts end, and what programs did, is not known; solutions"
                " are shown as far as states tell them."
            )
        if self._damaged_looks:
            messages.append(f"A line of {LOOKS} is damaged, and left out.")

    def _learn(self) -> set[str]:
        """Take in `looks.jsonl` where it has changed; name the problems that are known now, and were not."""
        changed: set[str] = set()
        stamp = _stamp(self.folder / LOOKS)
        if not self._journal.config or stamp == self._looks:
            return changed
        self._looks, self._damaged_looks = stamp, False
        for line in read_looks(self.folder):
            try:
                facts = self._facts(line["problem_id"])
                changed |= {facts.problem_id} if line["kind"] == "problem" and not facts.known else set()
                facts.learn(line)
            except (KeyError, TypeError):
                self._damaged_looks = True
        return changed

    def _facts(self, problem_id: str) -> Facts:
        return self._problems.setdefault(problem_id, Facts(len(self._problems), problem_id))

    def _take(self, record: Record) -> str:
        """Add one entry, and name its problem."""
        state = record["state"]
        if not isinstance(state["problem_id"], str) or type(state["k"]) is not int:
            raise TypeError("problem_id is to be text, and k a whole number")
        facts, golden = self._facts(state["problem_id"]), golden_action(record)
        facts.see(state, None if golden is None else golden["token_id"])
        data = shown(record, len(self._states["k"]), facts, self._tokens, self._tolerance)
        size = 250 + sum(
            150 + sum(len(g["text"]) + 16 * len(g["ids"]) + 150 for g in a["groups"]) + 250
            for a in data["actions"]
        )
        flags = [self._index(self._flags, a["flag"]) for a in data["actions"] if a["flag"]]
        column = {
            "iteration": record["iteration"],
            "problem": facts.number,
            "k": state["k"],
            "kind": self._index(self._kinds, record["kind"]),
            "value": _rounded(value_of(record)),
            "version": record["model_version"],
            "rollouts": len(rollouts_of(record)),
            "flags": sum(1 << i for i in set(flags)),
            "logprob": None if golden is None else golden["logprob"],
            "after": None if golden is None else golden["logprob_after"],
        }
        actions, row = self._action_rows(data), self._golden_row(data, column)
        # What this version cannot show has raised an error by now: an entry is taken in whole, or not at all.
        if self._open and self._open_bytes + size > CHUNK_BYTES:
            self._flush()
        self._open.append(data)
        self._open_bytes += size
        _add(self._states, {**column, "chunk": self._chunk})
        for action in actions:
            _add(self._actions, action)
        _add(self._golden.setdefault(facts.problem_id, {name: [] for name in GOLDEN_COLUMNS}), row)
        return facts.problem_id

    @property
    def _tolerance(self) -> float:
        method = self._journal.config.get("method")
        value = method.get("tolerance") if isinstance(method, dict) else None
        return float(value) if isinstance(value, int | float) else 0.05

    def _index(self, names: list[str], name: str) -> int:
        if name not in names:
            names.append(name)
        return names.index(name)

    def _action_rows(self, data: dict[str, Any]) -> list[dict[str, Any]]:
        rows = []
        for index, action in enumerate(data["actions"]):
            if action["token_id"] is None:
                continue
            own = {name: action[name] for name in ("logprob", "target", "trials", "advantage")}
            rounded = {name: _rounded(action[name]) for name in ("mean", "low", "high")}
            row = {
                "state": data["number"],
                "index": index,
                "token": action["token_id"],
                "golden": int(bool(action["golden"])),
                "reference": action["logprob_reference"],
                "trained": action["logprob_trained"],
                "after": action["logprob_after"],
                "flag": None if action["flag"] is None else self._index(self._flags, action["flag"]),
            }
            rows.append({**row, **own, **rounded})
        return rows

    def _golden_row(self, data: dict[str, Any], column: dict[str, Any]) -> dict[str, Any]:
        golden: dict[str, Any] = next((a for a in data["actions"] if a["golden"]), {})
        named = {n: golden.get(n) for n in ["logprob", "target", "rank", "advantage", "trials", "flag"]}
        likely = [
            [token, logprob, self._tokens.text(token)] for token, logprob in data.get("likeliest") or ()
        ]
        return {
            "state": data["number"],
            **{name: column[name] for name in ("iteration", "k", "kind", "value")},
            "entropy": _rounded(data.get("entropy")),
            "likeliest": likely,
            "reference": golden.get("logprob_reference"),
            "trained": golden.get("logprob_trained"),
            "after": golden.get("logprob_after"),
            **{name: _rounded(golden.get(name)) for name in ("mean", "low", "high")},
            **named,
        }

    def _read_atlas(self, paths: Sequence[Path], messages: list[str]) -> set[str]:
        """Take in the problems of an atlas, in place of what it said before; name them."""
        read: set[str] = set()
        for path in paths:
            try:
                problem = read_json(path)
                facts = self._facts(problem["problem_id"])
                ids = {name: problem[name] for name in ("prompt_ids", "golden_ids")}
                if not facts.known:
                    facts.learn({"kind": "problem", "cases": [], **ids})
                facts.least = least_rollouts(path.parent)
                self._tokens.learn(texts_of(problem))
                facts.head = problem["head"], len(problem["golden_ids"]) - len(problem["entries"])
                kind = self._index(self._kinds, "atlas")
                rows = self._golden.setdefault(facts.problem_id, {name: [] for name in GOLDEN_COLUMNS})
                kept = [i for i, old in enumerate(rows["kind"]) if old != kind]
                for name, values in rows.items():
                    rows[name] = [values[i] for i in kept]
                for row in rows_of(problem, kind, iteration_of(path.parent)):
                    _add(rows, {**dict.fromkeys(GOLDEN_COLUMNS), **row})
                read.add(facts.problem_id)
            except (MinillmError, KeyError, TypeError, OSError) as error:
                messages.append(f"{path} is damaged: {error}.")
        return read

    # ---------------------------------------------------------------- chunks

    def _write(self, name: str, data: Any) -> None:
        write_chunk(self.pages, f"{self.number}/{name}", data)

    def _flush(self, last: bool = False) -> None:
        """Write the chunk of states that is open, and open another unless more will come into it."""
        if self._open:
            texts = self._tokens.table(i for state in self._open for i in ids_of(state))
            self._write(f"states-{self._chunk}", {"states": self._open, "texts": texts})
        if not last:
            self._chunk, self._open, self._open_bytes = self._chunk + 1, [], 0

    def _write_problem(self, facts: Facts) -> None:
        ids = facts.prompt_ids, facts.golden_ids
        self._write(
            f"problem-{facts.number}",
            {
                "id": facts.problem_id,
                "prompt": facts.prompt_ids,
                "golden": facts.golden_ids,
                "missing": facts.whole - len(facts.prompt_ids) - len(facts.golden_ids),
                "known": facts.known,
                "cases": facts.cases,
                "rows": self._golden.get(facts.problem_id, {name: [] for name in GOLDEN_COLUMNS}),
                "texts": self._tokens.table(i for part in ids for i in part),
                # Without a tokenizer an atlas has the text before its first token in one piece.
                "head": None if self._tokens.name else facts.head,
                "least": facts.least,
                "tokenizer": self._tokens.name,
            },
        )

    def _write_audits(self, files: dict[int, Any], messages: list[str]) -> None:
        paths = audit_files(self.folder)
        for number, stamp in files.items():
            if number in paths and self._audits.get(number, (None,))[0] != stamp:
                try:
                    self._audits[number] = stamp, read_audit(paths[number])
                except (MinillmError, OSError) as error:
                    messages.append(f"{error}.")
        self._write("audit", [audit for _, (_, audit) in sorted(self._audits.items())])

    def _write_index(self, model: Any, messages: Sequence[str]) -> None:
        config = self._journal.config
        metrics = [line for line in read_metrics(self.folder) if isinstance(line, dict)] if config else []
        names = sorted({name for line in metrics for name in line} - {"iteration"})
        if config and not (self.folder / METRICS).exists():
            messages = [*messages, f"{METRICS} is missing: there are no curves."]
        if config and self._states["k"] and self._tokens.name is None:
            messages = [*messages, "No checkpoint with a tokenizer is there: tokens are shown by number."]
        held_out = config.get("held_out") or ()
        self._write(
            "index",
            {
                "name": self.name,
                "folder": str(self.folder),
                "version": self.version,
                "model": model if isinstance(model, str) else None,
                "algorithm": str(config.get("algorithm", "")) or None,
                "config": [[name, _text(value)] for name, value in _leaves(config)],
                "messages": list(dict.fromkeys(messages)),
                "metrics": {
                    "iteration": [line.get("iteration") for line in metrics],
                    "names": names,
                    "values": [[line.get(name) for line in metrics] for name in names],
                },
                "problems": [
                    {
                        "id": facts.problem_id,
                        "prompt": len(facts.prompt_ids),
                        "golden": facts.whole - len(facts.prompt_ids),
                        "held_out": facts.problem_id in held_out,
                    }
                    for facts in self._problems.values()
                ],
                "kinds": self._kinds,
                "flags": self._flags,
                "states": self._states,
                "audits": len(self._audits),
                "open": self._chunk,
                "tolerance": self._tolerance,
                "limits": {n: _number(config, n) for n in ("grow_above", "shrink_below", "confidence")},
            },
        )


def _number(config: Record, name: str) -> float | None:
    method = config.get("method")
    value = method.get(name) if isinstance(method, dict) else None
    return value if isinstance(value, int | float) else None


def _add(columns: dict[str, list[Any]], row: dict[str, Any]) -> None:
    for name, values in columns.items():
        values.append(row[name])


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _leaves(config: Record, before: str = "") -> list[tuple[str, Any]]:
    leaves: list[tuple[str, Any]] = []
    for name, value in config.items():
        nested = isinstance(value, dict) and value
        leaves += _leaves(value, f"{before}{name}.") if nested else [(before + name, value)]
    return leaves


def _text(value: Any) -> str:
    return re.sub(r"[\[\]'\"]", "", str(value)) if isinstance(value, list) else str(value)
