"""How often do verdicts err, what do they find, and what does adaptive allocation save?

States are simulated: five actions, probabilities from a Dirichlet distribution, true rewards that are known.
Rollouts are draws of a coin, so ten thousand states take minutes, and no model.

- calibration: under equal true rewards, how often an action is called better, or worse, for a fixed number of
  rollouts and for `rl.allocation`'s rounds.
- power: how often an action whose true reward differs from that of the policy's other actions by 0.1 to 0.5
  is called what it is.
- cost: the fixed number of rollouts that finds as much as adaptive allocation does, and how many rollouts
  each took, over two mixtures. Half of the "hard" one is equal at any reward, in the other half one action
  differs by 0.1 to 0.5. The "usual" one is what states of golden solutions look like: a third of that, a
  third where all fail or all succeed, nearly, and a third where one action leads on and the others fail.

    python -m benchmarks.advantage
    python -m benchmarks.advantage --states 2000 --confidence 0.95
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import record
from rl.advantage import advantages, alternative
from rl.allocation import more_rollouts
from rl.single_token import MethodConfig

ACTIONS = 5
EQUAL = (0.0, 0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
DIFFERENCES = (0.1, 0.2, 0.3, 0.4, 0.5)
MIN_GAIN = 0.01  # that `advantages` asks for
FIXED = (4, 8, 12, 16, 20, 24, 28, 32, 40, 48)


@dataclass(frozen=True)
class Config:
    """Options of the simulation.

    Attributes:
        states: simulated, of each mixture.
        confidence: of verdicts.
        rollouts: of each action at first, and in each further round.
        max_rollouts: of an action, at the most.
        seed: of all draws.
        save: keep the numbers in benchmarks/results/.
    """

    states: int = 10_000
    confidence: float = MethodConfig.confidence
    rollouts: int = MethodConfig.rollouts
    max_rollouts: int = MethodConfig.max_rollouts
    seed: int = 0
    save: bool = True


@dataclass(frozen=True)
class Simulated:
    """A state: its actions' true rewards and probabilities."""

    rewards: list[float]
    probs: list[float]

    def gaps(self) -> list[float]:
        """By how much each action is better than what the policy does instead; 0 where that leads nowhere.

        A verdict that no target would follow is not asked for: see `rl.allocation`.
        """
        found = []
        for i, (reward, prob) in enumerate(zip(self.rewards, self.probs, strict=True)):
            others = alternative(i, self.rewards, [1] * ACTIONS, self.probs)
            gap = 0.0 if others is None else reward - others.good
            share = 0.0 if others is None else others.share
            small = abs(gap) < DIFFERENCES[0] / 2 or share * abs(gap) < MIN_GAIN
            improbable = gap < 0 and prob < MethodConfig.min_prob
            found.append(0.0 if small or improbable else gap)
        return found


def probabilities(generator: np.random.Generator) -> list[float]:
    """Of a state's actions, which leave a twentieth to others."""
    return [float(p) for p in 0.95 * generator.dirichlet(np.full(ACTIONS, 0.5))]


def hard(count: int, generator: np.random.Generator) -> list[Simulated]:
    """Half of equal rewards, half with one action that is better, or worse, than its equal alternatives."""
    found = []
    for i in range(count):
        probs = probabilities(generator)
        if i % 2 == 0:
            found.append(Simulated([EQUAL[i // 2 % len(EQUAL)]] * ACTIONS, probs))
            continue
        difference = DIFFERENCES[i // 2 % len(DIFFERENCES)]
        rewards = [float(generator.uniform(0, 1 - difference))] * ACTIONS
        rewards[int(generator.integers(ACTIONS))] += difference
        worse = i // 2 // len(DIFFERENCES) % 2
        found.append(Simulated([1 - reward if worse else reward for reward in rewards], probs))
    return found


def usual(count: int, generator: np.random.Generator) -> list[Simulated]:
    """Draw states: a third hard, a third nearly all failures or successes, a third with one way on."""
    found = hard(count // 3, generator)
    for i in range(count - len(found)):
        probs = probabilities(generator)
        if i % 2 == 0:
            found.append(Simulated([(0.0, 0.02, 0.98, 1.0)[i // 2 % 4]] * ACTIONS, probs))
            continue
        rewards = [0.0] * ACTIONS
        likely = np.array(probs) / sum(probs)
        rewards[int(generator.choice(ACTIONS, p=likely))] = float(generator.uniform(0.3, 1))
        found.append(Simulated(rewards, probs))
    return found


Allocation = Callable[[list[int], list[int], list[float]], Sequence[int]]


def play(
    state: Simulated, first: int, allocate: Allocation, confidence: float, generator: np.random.Generator
) -> tuple[list[int], int]:
    """Verdicts on a state's actions, and rollouts made."""
    wins, trials, more = [0] * ACTIONS, [0] * ACTIONS, [first] * ACTIONS
    while any(more):
        for j, n in enumerate(more):
            wins[j] += int(generator.binomial(n, state.rewards[j]))
            trials[j] += n
        more = list(allocate(wins, trials, state.probs))
    return advantages(wins, trials, state.probs, confidence=confidence), sum(trials)


def measure(
    name: str, states: Sequence[Simulated], first: int, allocate: Allocation, config: Config
) -> dict[str, Any]:
    """Error rates, power and cost of one way to allocate rollouts."""
    generator = np.random.default_rng(config.seed + 1)
    wrong = {1: 0, -1: 0}
    equal = spent = 0
    found: dict[float, list[bool]] = {difference: [] for difference in DIFFERENCES}
    for state in track(states, name, transient=True, disable=not sys.stdout.isatty()):
        verdicts, made = play(state, first, allocate, config.confidence, generator)
        spent += made
        if len(set(state.rewards)) == 1:
            equal += len(verdicts)
            for sign in wrong:
                wrong[sign] += verdicts.count(sign)
            continue
        for gap, verdict in zip(state.gaps(), verdicts, strict=True):
            if gap:
                nearest = min(DIFFERENCES, key=lambda d: abs(d - abs(gap)))
                found[nearest].append(verdict == (1 if gap > 0 else -1))
    whole = [hit for hits in found.values() for hit in hits]
    return {
        "allocation": name,
        "rollouts_per_action": spent / len(states) / ACTIONS,
        "false_better": wrong[1] / equal,
        "false_worse": wrong[-1] / equal,
        "power": {str(difference): float(np.mean(hits)) for difference, hits in found.items()},
        "mean_power": float(np.mean(whole)),
    }


def compared(
    mixture: str, states: Sequence[Simulated], config: Config, console: Console
) -> tuple[list[dict[str, Any]], float, float]:
    """Compare fixed and adaptive allocation over the same states: rows, rate of errors, share of rollouts."""

    def fixed(s: Sequence[int], n: Sequence[int], p: Sequence[float]) -> list[int]:
        return [0] * len(s)

    def adaptive(s: Sequence[int], n: Sequence[int], p: Sequence[float]) -> list[int]:
        return more_rollouts(
            s,
            n,
            p,
            round_size=config.rollouts,
            max_rollouts=config.max_rollouts,
            confidence=config.confidence,
        )

    rows = [measure(f"fixed {n}", states, n, fixed, config) for n in FIXED if n <= config.max_rollouts]
    name = f"adaptive {config.rollouts} to {config.max_rollouts}"
    own = measure(name, states, config.rollouts, adaptive, config)
    console.print(table([*rows, own], f"{mixture} states, verdicts at a confidence of {config.confidence}"))
    powers = [row["mean_power"] for row in rows]

    def at_equal_power(what: str) -> float:
        return float(np.interp(own["mean_power"], powers, [row[what] for row in rows]))

    share = own["rollouts_per_action"] / at_equal_power("rollouts_per_action")
    console.print(
        f"{name} finds as much as a fixed {at_equal_power('rollouts_per_action'):.1f} rollouts of each "
        f"action, with {share:.0%} of them; false +1 {own['false_better']:.3f} against "
        f"{at_equal_power('false_better'):.3f}, false -1 {own['false_worse']:.3f} against "
        f"{at_equal_power('false_worse'):.3f}"
    )
    rate = max(max(row["false_better"], row["false_worse"]) for row in (*rows, own))
    return [*rows, own], rate, share


def table(rows: list[dict[str, Any]], title: str) -> Table:
    """Print a row an allocation."""
    names = ("rollouts", "an action", "false +1", "false -1", *map(str, DIFFERENCES), "mean power")
    cells = [
        (
            row["allocation"],
            f"{row['rollouts_per_action']:.1f}",
            f"{row['false_better']:.3f}",
            f"{row['false_worse']:.3f}",
            *(f"{row['power'][str(difference)]:.2f}" for difference in DIFFERENCES),
            f"{row['mean_power']:.3f}",
        )
        for row in rows
    ]
    result = record.table(title, names, cells)
    result.caption = "power by the difference in true reward to the policy's other actions"
    return result


def run(config: Config, console: Console) -> int:
    """Measure, print and save; returns the exit status: 1 for too many errors, or too little saved."""
    found = {
        name: compared(name, draw(config.states, np.random.default_rng(config.seed)), config, console)
        for name, draw in (("hard", hard), ("usual", usual))
    }
    rate = max(rate for _, rate, _ in found.values())
    console.print(f"largest rate of false verdicts: {rate:.3f}, of {1 - config.confidence:.3f} allowed")
    mixtures = {name: {"rows": rows, "share": share} for name, (rows, _, share) in found.items()}
    record.finish(console, "advantage", config, mixtures=mixtures)
    return 0 if rate <= 1 - config.confidence and found["usual"][2] <= 0.5 else 1


if __name__ == "__main__":
    sys.exit(record.main(run, Config, __doc__))
