"""Is an action better or worse than what the policy would do instead? First decision of the method.

With Q(a) the chance of reward after action a and pi the policy over the sampled actions, the state reward is
V = sum pi(a) Q(a), and the advantage of a has the sign of Q(a) - V, which is the sign of Q(a) - V' for V' the
policy-weighted mean of the *other* actions. They are weighted by probability and not pooled by count: 5 of 8
beside a favourite of the policy at 4 of 8 is no better for three improbable failures at 0 of 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, floor, fsum, isfinite, lgamma

from minillm.errors import MinillmError


def state_reward(rewards: Sequence[float], logprobs: Sequence[float]) -> float:
    """Average the mean rewards of a state's actions, weighted by the policy's probabilities of them.

    `logprobs` are the policy's, one an action; probabilities are normalised over these actions. Raises
    `MinillmError` where there is no action, where the lengths differ, or where a value is not finite.
    """
    if not rewards or len(rewards) != len(logprobs):
        raise MinillmError(
            f"a state reward needs one logprob a reward and at least one of each, "
            f"not {len(rewards)} rewards and {len(logprobs)} logprobs"
        )
    if not all(map(isfinite, (*rewards, *logprobs))):
        raise MinillmError("a state reward needs finite rewards and logprobs")
    top = max(logprobs)
    weights = [exp(logprob - top) for logprob in logprobs]
    return fsum(w * r for w, r in zip(weights, rewards, strict=True)) / fsum(weights)


def advantages(
    successes: Sequence[float],
    trials: Sequence[int],
    probs: Sequence[float],
    *,
    confidence: float = 0.9,
    min_gain: float = 0.01,
) -> list[int]:
    """Decide the advantage, -1, 0 or +1, of each action of a state from the counts of its rollouts.

    `successes` of `trials` rollouts earned the reward after each action (rewards between 0 and 1 are summed,
    and the part of the sum after the point is no evidence), and `probs` are the policy's probabilities of the
    actions (normalised here over those that have trials). An action is +1 or -1 where two things hold, and 0
    otherwise:

    1. *Evidence.* A one-sided exact test of its count against that of the other actions has a p-value of at
       most 1 - confidence. The others count as r*n successes in n trials, with r = sum w_j s_j/n_j their mean
       reward under the policy's weights w_j and n = 1 / sum(w_j^2 / n_j) the trials that would estimate r as
       well (Kish's effective sample size). For whole counts the test is Fisher's; see `p_as_good` for how it
       goes on to fractions.
    2. *Size.* Its mean reward differs from the state reward by at least `min_gain`. An action that has nearly
       all the probability already has nothing to win, however clear the evidence.

    Swapping successes and failures flips every sign; more successes never lower an action's advantage nor
    raise another's; no trials, or no alternative with trials, give 0.

    Errors: with equal true rewards, an action is falsely +1 with a probability of at most 1 - confidence, and
    so is it falsely -1. That is exact where the weights follow the trials (Fisher's test), and measured
    elsewhere (`benchmarks/advantage.py`): about half of it for 8 rollouts an action; 1.5 times as much where
    an action with much of the probability has 2 trials and the others 64. The rate is for one action and one
    sign, *not* corrected for the number of actions: with 5 actions and 8 rollouts up to a third of the states
    see a false verdict at a confidence of 0.9, a fifth at 0.95. A false verdict moves one logprob by a factor
    of two and is tested afresh when the state is seen again: a correction would cost more than it saves.

    Raises `MinillmError` for lengths that differ, impossible counts, probabilities outside [0, 1], a
    confidence outside (0.5, 1) or a negative `min_gain`.
    """
    check_counts(successes, trials, probs, confidence, min_gain)

    def verdict(i: int) -> int:
        others = alternative(i, successes, trials, probs)
        if others is None or not trials[i]:
            return 0
        failures = trials[i] - successes[i]
        better = others.beaten_by(successes[i], failures, confidence, min_gain)
        worse = others.exchanged().beaten_by(failures, successes[i], confidence, min_gain)
        return int(better) - int(worse)

    return [verdict(i) for i in range(len(trials))]


@dataclass(frozen=True)
class Alternative:
    """What the policy would do in place of an action.

    `good` is the mean reward of the other actions under the policy's weights (of (index, weight) each), `bad`
    what it lacks to 1; both are as well known as from `size` trials. `share` is the others' probability.
    """

    good: float
    bad: float
    size: float
    share: float
    weights: list[tuple[int, float]]

    def exchanged(self) -> Alternative:
        """Exchange successes and failures."""
        return replace(self, good=self.bad, bad=self.good)

    def beaten_by(self, wins: float, losses: float, confidence: float, min_gain: float) -> bool:
        """Tell whether `wins` and `losses` are better by enough, with evidence enough: see `advantages`."""
        # Q - V = (1 - pi) (Q - V'): what is left to win shrinks as the action takes over.
        if self.share * (wins / (wins + losses) - self.good) < min_gain:
            return False
        # Rounding must not decide between a p-value of 0.1 and a confidence of 0.9.
        level = (1 - confidence) * (1 + 1e-9)
        # Of rewards between 0 and 1 the whole part of the sum counts: the cautious way to round.
        whole = floor(wins + 1e-9)
        rest = round(wins + losses) - whole
        return p_as_good(whole, rest, self.good * self.size, self.bad * self.size) <= level


def alternative(
    i: int, successes: Sequence[float], trials: Sequence[int], probs: Sequence[float]
) -> Alternative | None:
    """Weigh the other actions than the i-th; None where no other that has trials is likely."""
    others = [j for j, n in enumerate(trials) if n and j != i]
    rest = fsum(probs[j] for j in others)
    if rest == 0:
        return None
    weights = [(j, probs[j] / rest) for j in others]
    return Alternative(
        good=fsum(w * successes[j] / trials[j] for j, w in weights),
        bad=fsum(w * (trials[j] - successes[j]) / trials[j] for j, w in weights),
        size=1 / fsum(w * w / trials[j] for j, w in weights),
        share=rest / (rest + probs[i]),
        weights=weights,
    )


def p_as_good(successes: int, failures: int, other_successes: float, other_failures: float) -> float:
    """Compute a one-sided p-value of a count against another: how easily an equal does as well or better.

    It is the tail at `successes` of a beta-binomial of `successes + failures` trials whose chance is
    Beta(other_successes + 1, other_failures). For whole numbers that is the p-value of Fisher's exact test
    (Altham, "Exact Bayesian analysis of a 2x2 contingency table", JRSS B 31, 1969); unlike the hypergeometric
    form it is defined, and monotone, for the fractional counts of a weighted mean too. It is 1 where either
    side has no trials.
    """
    if other_failures == 0:
        return 1.0
    return min(1.0, beta_binomial_tail(successes, successes + failures, other_successes + 1, other_failures))


def beta_binomial_tail(least: int, n: int, a: float, b: float) -> float:
    """Sum the probabilities of at least `least` successes in `n` trials whose chance is Beta(a, b)."""
    log_scale = lgamma(n + 1) - lgamma(n + a + b) + lgamma(a + b) - lgamma(a) - lgamma(b)
    return fsum(
        exp(log_scale + lgamma(x + a) + lgamma(n - x + b) - lgamma(x + 1) - lgamma(n - x + 1))
        for x in range(least, n + 1)
    )


def check_counts(
    successes: Sequence[float],
    trials: Sequence[int],
    probs: Sequence[float],
    confidence: float,
    min_gain: float,
) -> None:
    """Raise `MinillmError` for counts, probabilities and thresholds that cannot be."""
    if not len(successes) == len(trials) == len(probs):
        raise MinillmError(
            f"advantages need one count and one probability an action, not {len(successes)} "
            f"successes, {len(trials)} trials and {len(probs)} probabilities"
        )
    for s, n, prob in zip(successes, trials, probs, strict=True):
        if not 0 <= s <= n:
            raise MinillmError(f"{s} successes in {n} trials cannot be")
        if not 0 <= prob <= 1:
            raise MinillmError(f"{prob} is not a probability")
    if not 0.5 < confidence < 1:
        raise MinillmError(f"confidence must lie between 0.5 and 1, not at {confidence}")
    if not min_gain >= 0:
        raise MinillmError(f"min_gain must not be negative, but is {min_gain}")
