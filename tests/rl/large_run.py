"""Writes a run as large as one gets, without a model: `python -m tests.rl.large_run FOLDER`.

2,000 states with 200,000 rollouts, whose numbers are drawn, and whose files are those that a trainer writes.
"""

from __future__ import annotations

import json
import math
import random
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rl.journal import FORMAT
from rl.looks import digest
from rl.types import Action, Rollout, State, TrainingEntry

VERDICTS = ("reached", "on its way", "there already", "taken back", "wrong way", "vanished", "did not move")
WORDS = 500  # token ids, the first of them special


def write_large_run(
    folder: Path, states: int = 2000, rollouts: int = 200_000, problems: int = 40, model: Path | None = None
) -> Path:
    """Write it, with the tokenizer of a model's folder; all is drawn by one seed."""
    draw = random.Random(1)
    folder.mkdir(parents=True)
    checkpoint = folder / "checkpoint-1"
    checkpoint.mkdir()
    for path in model.iterdir() if model else ():
        if path.suffix in (".json", ".model"):
            shutil.copyfile(path, checkpoint / path.name)
    config = {"model": "large", "algorithm": "single-token", "method": {"tolerance": 0.05, "grow_above": 0.7}}
    (folder / "config.json").write_text(json.dumps({"format": FORMAT, "config": config}))
    names = [f"{draw.randrange(16**8):08x}" for _ in range(problems)]
    tokens = {
        name: (
            [draw.randrange(3, WORDS) for _ in range(1500)],
            [draw.randrange(3, WORDS) for _ in range(220)],
        )
        for name in names
    }
    with (folder / "journal.jsonl").open("w") as journal, (folder / "looks.jsonl").open("w") as looks:
        for name, (prompt, golden) in tokens.items():
            grid = [[draw.randrange(10) for _ in range(12)] for _ in range(12)]
            case = {"name": "train 1", "input": grid, "expected": grid[::-1]}
            line = {
                "kind": "problem",
                "problem_id": name,
                "prompt_ids": prompt,
                "golden_ids": golden,
                "stop": [],
                "cases": [case],
            }
            looks.write(json.dumps(line) + "\n")
        for number in range(states):
            name = names[number % problems]
            entry, failures = _entry(draw, number, name, *tokens[name], problems, rollouts // states)
            journal.write(json.dumps(asdict(entry), separators=(",", ":")) + "\n")
            looks.writelines(json.dumps(line) + "\n" for line in failures)
    size = (folder / "journal.jsonl").stat().st_size
    iterations = math.ceil(states / problems)
    (folder / "state.json").write_text(
        json.dumps({"iteration": iterations, "journal_bytes": size, "state": {}})
    )
    with (folder / "metrics.jsonl").open("w") as metrics:
        for i in range(1, iterations + 1):
            line = {
                "iteration": i,
                "state_reward": 1 - math.exp(-i / 9),
                "k": 3 + i / 2,
                "drift": draw.random() / 1e3,
            }
            metrics.write(
                json.dumps(
                    line
                    | {
                        "rollouts": rollouts / iterations,
                        "seconds/rollouts": 40 + i,
                        "seconds/training": 90.0,
                    }
                )
                + "\n"
            )
    return folder


def _entry(
    draw: random.Random,
    number: int,
    name: str,
    prompt: list[int],
    golden: list[int],
    problems: int,
    count: int,
) -> tuple[TrainingEntry, list[dict[str, Any]]]:
    """Draw one state: five actions, whose rollouts come in a few texts each."""
    iteration = number // problems + 1
    k = 1 + draw.randrange(iteration // 2 + 4)
    prefix = [*prompt, *golden[:-k]]
    chosen = [golden[-k], *draw.sample([i for i in range(3, WORDS) if i != golden[-k]], 4)]
    actions, failures = [], []
    for place, token in enumerate(chosen):
        chance = 0.8 if place == 0 else 0.3 * draw.random()
        texts = [[draw.randrange(3, WORDS) for _ in range(draw.randint(8, 30))] for _ in range(6)]
        made = []
        for _ in range(count // 5):
            right = draw.random() < chance
            ids = (
                golden[len(golden) - k + 1 :]
                if right and place == 0
                else texts[min(5, int(draw.expovariate(0.7)))]
            )
            reward = 1.0 if right else 0.0
            made.append(
                Rollout(ids, [-round(draw.random(), 3) for _ in ids], reward, "stop" if right else "length")
            )
        for ids in texts[:2]:
            completion = [*golden[:-k], token, *ids]
            produced = [[draw.randrange(10) for _ in range(12)] for _ in range(12)]
            failures.append(
                {
                    "kind": "failure",
                    "problem_id": name,
                    "completion": digest(completion),
                    "case": 0,
                    "produced": produced,
                    "error": None,
                }
            )
        logprob = -0.3 - 3 * draw.random() - place
        after = logprob + 0.4 * draw.random()
        advantage = 1 if place == 0 else draw.choice((0, -1))
        target = None if advantage == 0 else logprob * (0.5 if advantage == 1 else 2)
        actions.append(
            Action(
                token,
                place == 0,
                logprob,
                made,
                advantage,
                target,
                logprob - 0.1,
                after,
                None if target is None else after,
                None if target is None else after > logprob,
                None if target is None else draw.choice(VERDICTS),
                1 + place,
                draw.choice(("decided", "no hope", "most rollouts")),
            )
        )
    entry = TrainingEntry(
        kind="training",
        iteration=iteration,
        state=State(name, k, prefix),
        model_version=4 * iteration,
        actions=actions,
        state_reward=sum(a.mean_reward for a in actions) / 5,
        steps=4,
        entropy=3 * draw.random(),
        likeliest=[(a.token_id, a.logprob) for a in actions],
    )
    return entry, failures


def records(folder: Path) -> Iterator[dict[str, Any]]:
    """Read its journal."""
    with (folder / "journal.jsonl").open() as journal:
        yield from map(json.loads, journal)


if __name__ == "__main__":
    from minillm.checkpoint.hub import DEMO_MODEL, resolve

    print(write_large_run(Path(sys.argv[1]), model=resolve(DEMO_MODEL)))
