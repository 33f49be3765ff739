"""What `rl.audit` found of an update: records, and tables, files and a picture of them."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Column, Table

from minillm.checkpoint.durable import write_atomically

_COUNTS, _NORMS = ("weights", "changed", "touched"), ("gradient_norm", "update_norm", "weight_norm")


@dataclass(frozen=True)
class Moved:
    """One move's logprobs: before, target, and after in exact arithmetic, in the trainer and in the sampler.

    `verdict` is that of `rl.targets.verdict`; `equal_bits` says whether trainer and sampler agree bitwise.
    """

    token_id: int
    prefix_tokens: int
    before: float
    target: float | None
    exact_before: float
    exact_after: float
    trained: float
    sampled: float
    equal_bits: bool
    verdict: str


@dataclass(frozen=True)
class Tensors:
    """Weights of one kind in one layer (None: outside of layers), and their norms in float64.

    `changed` counts weights that differ at serving precision, `touched` those that do in their own dtype.
    """

    layer: int | None
    kind: str
    weights: int
    changed: int
    touched: int
    gradient_norm: float | None
    update_norm: float
    weight_norm: float

    @property
    def changed_share(self) -> float:
        """Share of weights that changed at serving precision."""
        return self.changed / self.weights

    @property
    def touched_share(self) -> float:
        """Share of weights that changed in their own dtype."""
        return self.touched / self.weights

    @property
    def relative_update(self) -> float | None:
        """The update's norm over the weights'; None for weights of 0."""
        return self.update_norm / self.weight_norm if self.weight_norm else None


@dataclass(frozen=True)
class Activations:
    """One layer's hidden-state RMS and largest attention logit (before the softcap), over moves and probe."""

    layer: int
    hidden_rms: float
    largest_logit: float


@dataclass(frozen=True)
class Drift:
    """How the probe's logprobs moved, in nats: of its own tokens, and as KL over whole distributions.

    `kl` is from before the update to after it, `kl_reference` from the start of the audit to after.
    """

    tokens: int
    mean: float
    mean_absolute: float
    largest: float
    largest_token: tuple[int, int]
    kl: float
    kl_reference: float


@dataclass(frozen=True)
class UpdateReport:
    """All that one update did; `step` counts the audit's updates from 1."""

    step: int
    precision: dict[str, str]
    moves: list[Moved]
    tensors: list[Tensors]
    activations: list[Activations]
    drift: Drift | None

    @property
    def vanished(self) -> list[Moved]:
        """Moves that exist in exact arithmetic and are gone at serving precision."""
        return [move for move in self.moves if move.verdict == "vanished"]

    @property
    def changed(self) -> float:
        """Share of weights that changed at serving precision."""
        return _total(self.tensors).changed_share

    @property
    def touched(self) -> float:
        """Share of weights that changed in their own dtype."""
        return _total(self.tensors).touched_share

    def weights_by(self, name: Literal["layer", "kind"]) -> dict[str, Tensors]:
        """Sum up the weights of each layer, those outside of any included, or of each kind."""
        groups: dict[str, list[Tensors]] = {}
        for tensors in self.tensors:
            value = getattr(tensors, name)
            groups.setdefault("outside" if value is None else str(value), []).append(tensors)
        return {key: _total(group) for key, group in groups.items()}

    def __str__(self) -> str:
        verdicts = Counter(move.verdict for move in self.moves)
        text = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items()) or "no moves"
        text = f"update {self.step}: {text}; {self.changed:.2%} of weights changed at serving precision"
        if self.changed != self.touched:
            text += f" ({self.touched:.2%} in their own dtype)"
        if d := self.drift:
            text += f"; probe moved by {d.mean_absolute:.2g} nats on average, {d.largest:.2g} at most"
        return text

    def tables(self) -> list[Table]:
        """Tabulate moves; weights by layer and by kind; drift."""
        weights = self._weights_table("layer"), self._weights_table("kind")
        return [self._moves_table(), *weights, self._drift_table()]

    def print(self, console: Console | None = None) -> None:
        """Print the tables, for people."""
        (console or Console()).print(str(self), *self.tables(), sep="\n")

    def save(self, folder: str | Path) -> Path:
        """Write update-<step>.json and, where matplotlib is there, update-<step>.png; the former's path."""
        path = Path(folder) / f"update-{self.step}.json"
        write_atomically(path, lambda temporary: temporary.write_text(json.dumps(asdict(self))))
        try:
            import matplotlib.figure  # noqa: F401
        except ImportError:
            return path
        write_atomically(path.with_suffix(".png"), lambda temporary: plot(self, temporary))
        return path

    def _moves_table(self) -> Table:
        names = ("token", "after", "before", "target", "exact after", "trainer after", "sampler after")
        table = Table(*map(_right, names), "bits", "", title=f"update {self.step}: logprobs")
        for m in self.moves:
            logprobs = (m.before, m.target, m.exact_after, m.trained, m.sampled)
            cells = [_number(logprob, ".5f") for logprob in logprobs]
            bits = "equal" if m.equal_bits else "DIFFER"
            table.add_row(str(m.token_id), f"{m.prefix_tokens} tokens", *cells, bits, m.verdict)
        return table

    def _weights_table(self, by: Literal["layer", "kind"]) -> Table:
        names = ["weights", "changed", "at serving precision", "gradient", "update", "norm", "update / norm"]
        activations = {str(a.layer): a for a in self.activations} if by == "layer" else {}
        if activations:
            names += ["hidden RMS", "largest logit"]
        table = Table(by, *map(_right, names), title=f"update {self.step}: weights by {by}")
        for name, t in self.weights_by(by).items():
            numbers = [t.gradient_norm, t.update_norm, t.weight_norm, t.relative_update]
            if a := activations.get(name):
                numbers += [a.hidden_rms, a.largest_logit]
            shares = f"{t.touched_share:.2%}", f"{t.changed_share:.2%}"
            table.add_row(name, f"{t.weights:,}", *shares, *map(_number, numbers))
        return table

    def _drift_table(self) -> Table:
        table = Table(title=f"update {self.step}: what was not meant to move", show_header=False)
        if d := self.drift:
            place = "(text {}, token {})".format(*d.largest_token)
            table.add_row("probe tokens", f"{d.tokens:,}")
            table.add_row("mean change of a logprob", f"{d.mean:+.3g}")
            table.add_row("mean absolute change", f"{d.mean_absolute:.3g}")
            table.add_row("largest change", f"{d.largest:.3g} {place}")
            table.add_row("KL(before, after)", f"{d.kl:.3g}")
            table.add_row("KL(start of the audit, after)", f"{d.kl_reference:.3g}")
        return table


def plot(report: UpdateReport, path: Path) -> None:
    """Draw moves, weights that changed, updates and activations. Needs matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 8), layout="constrained")
    (moves, changed), (updates, activations) = figure.subplots(2, 2)
    figure.suptitle(str(report), fontsize=10)
    places = range(len(report.moves))
    for i, m in enumerate(report.moves):
        if m.target is not None:
            moves.plot([i, i], [m.before, m.target], color="lightgray", linewidth=6, zorder=1)
    for label, field, marker, color in (
        ("target", "target", "_", "black"),
        ("before", "before", "o", "gray"),
        ("after, exact", "exact_after", "D", "tab:green"),
        ("after, trainer", "trained", "s", "tab:blue"),
        ("after, sampler", "sampled", "x", "tab:red"),
    ):
        logprobs = [math.nan if (v := getattr(m, field)) is None else v for m in report.moves]
        size = 18 if field == "target" else None
        moves.plot(places, logprobs, marker, color=color, markersize=size, label=label, zorder=2)
    moves.set(title="moves", ylabel="logprob (nats)")
    moves.set_xticks(places, [f"{m.token_id}\n{m.verdict}" for m in report.moves], fontsize=8)
    layers = report.weights_by("layer")
    curves = {"markersize": 3, "marker": "o"}
    for label, field in (("in their own dtype", "touched_share"), ("at serving precision", "changed_share")):
        changed.plot(list(layers), [100 * getattr(t, field) for t in layers.values()], label=label, **curves)
    changed.set(title="weights that changed", ylabel="%", xlabel="layer", ylim=(-3, 103))
    for kind in report.weights_by("kind"):
        inside = [t for t in report.tensors if t.kind == kind and t.layer is not None and t.weight_norm > 0]
        if inside:
            relative = [t.relative_update for t in inside]
            updates.plot([t.layer for t in inside], relative, label=kind, **curves)
    scale = "log" if any(t.update_norm for t in report.tensors) else "linear"
    updates.set(title="update / weight norm", xlabel="layer", yscale=scale)
    measured = [a.layer for a in report.activations]
    for label, field in (("hidden RMS", "hidden_rms"), ("largest attention logit", "largest_logit")):
        activations.plot(measured, [getattr(a, field) for a in report.activations], label=label, **curves)
    activations.set(title="activations", xlabel="layer")
    for axes in (moves, changed, updates, activations):
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=7, ncols=2)
    changed.tick_params(axis="x", labelsize=6, labelrotation=90)
    figure.savefig(path, dpi=110, format="png")


def _total(group: Sequence[Tensors]) -> Tensors:
    """Add up counts, and join norms; names are the first's."""
    sums: dict[str, Any] = {name: sum(getattr(t, name) for t in group) for name in _COUNTS}
    for name in _NORMS:
        squares = [norm * norm for t in group if (norm := getattr(t, name)) is not None]
        sums[name] = math.sqrt(sum(squares)) if squares else None
    return replace(group[0], **sums)


def _right(name: str) -> Column:
    return Column(name, justify="right")


def _number(value: float | None, form: str = ".3g") -> str:
    return "" if value is None else format(value, form)
