"""What the page shows of a journal's records: states, actions, and rollouts that are the same as one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from rl.dashboard.tokens import Tokens
from rl.intervals import exact_interval
from rl.looks import digest

Record = Mapping[str, Any]
CONFIDENCE = 0.95  # of the intervals of mean rewards
_KEPT = [
    "token_id",
    "golden",
    "logprob",
    "logprob_reference",
    "logprob_after",
    "logprob_trained",
    "target",
    "advantage",
    "moved",
    "verdict",
    "rank",
    "stopped",
]


@dataclass
class Facts:
    """What is known of one problem: where its solution begins, and what its completions did.

    `golden_ids` ends where it is not known further; `known` says whether it is all known.
    """

    number: int
    problem_id: str
    prompt_ids: list[int] = field(default_factory=list)
    golden_ids: list[int] = field(default_factory=list)
    known: bool = False
    cases: list[dict[str, Any]] = field(default_factory=list)
    failures: dict[str, dict[str, Any]] = field(default_factory=dict)
    # Of an atlas: the text before its first token, and how many tokens that is.
    head: tuple[str, int] | None = None
    least: int = 1  # rollouts of a state that count as a measurement in it
    whole: int = 0  # tokens of prompt and solution, as states tell

    def learn(self, line: Mapping[str, Any]) -> None:
        """Take in a line of `looks.jsonl`."""
        if line["kind"] == "problem":
            self.prompt_ids, self.golden_ids, self.known = line["prompt_ids"], line["golden_ids"], True
            self.cases, self.whole = line["cases"], len(self.prompt_ids) + len(self.golden_ids)
        elif line["kind"] == "failure":
            self.failures[line["completion"]] = {k: line[k] for k in ("case", "produced", "error")}

    def see(self, state: Record, golden_id: int | None) -> None:
        """Piece the solution together from a state, in runs that left no `looks.jsonl`."""
        prefix, k = state["prefix_ids"], state["k"]
        if self.known:
            return
        self.whole = len(prefix) + k
        known = [*prefix, *([] if golden_id is None else [golden_id])]
        whole = [*self.prompt_ids, *self.golden_ids]
        whole = known if len(known) > len(whole) else whole
        # Nothing says where the prompt ends: what was never cut off is taken for it.
        cut = min(len(self.prompt_ids) or len(prefix), len(prefix))
        self.prompt_ids, self.golden_ids = whole[:cut], whole[cut:]

    def at(self, k: int) -> int:
        """Say where in the solution the golden action of state k stands."""
        return self.whole - len(self.prompt_ids) - k


def golden_action(record: Record) -> Record | None:
    """Find the action that is the known solution's."""
    return next((action for action in record.get("actions", ()) if action["golden"]), None)


def rollouts_of(record: Record) -> list[Record]:
    """List all rollouts of a state, of whatever kind its entry is."""
    groups = [action["rollouts"] for action in record.get("actions", ())]
    return [rollout for group in (*groups, record.get("rollouts", ())) for rollout in group]


def value_of(record: Record) -> float | None:
    """Give the state's reward, where its entry has one."""
    return record.get("state_reward")


def flag(action: Record, tolerance: float) -> str | None:
    """Name what became of a move: its verdict, or "overshot" where it went far past its target."""
    target, after, before = action["target"], action["logprob_after"], action["logprob"]
    if target is None or after is None:
        return None
    way = 1 if target > before else -1
    past = way * (after - target) > tolerance and action["verdict"] == "reached"
    return "overshot" if past else action["verdict"]


def shown(record: Record, number: int, facts: Facts, tokens: Tokens, tolerance: float) -> dict[str, Any]:
    """Make what the page shows of one state; `number` counts the run's states."""
    state = record["state"]
    prefix = state["prefix_ids"]
    begin = prefix[len(facts.prompt_ids) :]
    data: dict[str, Any] = {
        "number": number,
        "kind": record["kind"],
        "iteration": record["iteration"],
        "version": record["model_version"],
        "problem": facts.number,
        "k": state["k"],
        "value": value_of(record),
        **{
            name: record[name]
            for name in ("entropy", "likeliest", "steps", "split", "loss")
            if name in record
        },
    }
    grouped = [(action, action["token_id"], action["rollouts"]) for action in record.get("actions", ())]
    if record.get("rollouts"):
        grouped.append(({}, None, record["rollouts"]))
    data["actions"] = []
    for action, token_id, rollouts in grouped:
        successes, trials = sum(r["reward"] for r in rollouts), len(rollouts)
        # Rewards that are no chance of success have no such interval, and all are between 0 and 1.
        low, high = exact_interval(min(successes, trials), trials, CONFIDENCE)
        start = [*begin, *([] if token_id is None else [token_id])]
        data["actions"].append(
            {
                **{name: action.get(name) for name in _KEPT},
                "flag": flag(action, tolerance) if action else None,
                "successes": successes,
                "trials": trials,
                "mean": successes / trials if trials else None,
                "low": low,
                "high": high,
                "groups": groups(rollouts, start, facts, tokens),
            }
        )
    return data


def groups(
    rollouts: Sequence[Record], start: Sequence[int], facts: Facts, tokens: Tokens
) -> list[dict[str, Any]]:
    """Put rollouts of one text together, the most frequent first; the solution has `start` before them."""
    found: dict[tuple[str, float], list[Record]] = {}
    for rollout in rollouts:
        found.setdefault((tokens.decode(rollout["token_ids"]), rollout["reward"]), []).append(rollout)
    shown_groups = []
    for (text, reward), same in sorted(found.items(), key=lambda item: -len(item[1])):
        first = same[0]
        failure = facts.failures.get(digest([*start, *first["token_ids"]])) if reward < 1 else None
        shown_groups.append(
            {
                "text": text,
                "reward": reward,
                "count": len(same),
                "ids": first["token_ids"],
                "logprobs": [round(x, 4) for x in first["logprobs"]],
                "finish": first["finish_reason"],
                "ways": len({tuple(rollout["token_ids"]) for rollout in same}),
                "advantage": first.get("advantage"),
                "failure": failure,
            }
        )
    return shown_groups


def ids_of(state: Mapping[str, Any]) -> Iterable[int]:
    """List the token ids in what `shown` made."""
    for token_id, _ in state.get("likeliest") or ():
        yield token_id
    for action in state["actions"]:
        if action["token_id"] is not None:
            yield action["token_id"]
        for group in action["groups"]:
            yield from group["ids"]
