"""What did an update do? Moves at serving precision, weights that changed, and what was not meant to move.

For any training loop:

    audit = Audit(llm, probe=texts)            # once: `probe` is what should stay as it is
    update = audit.begin(moves)                # before the update: logprobs and weights as they are
    loss.backward(); update.gradients()        # as often as there are backward passes; may be left out
    optimizer.step()
    report = update.end()                      # report.print() shows tables, report.save(folder) writes files

A move is looked at three times after the update: in the weights' own dtype with nothing rounded on the way
("exact"), in the trainer's forward and in the sampler, both at serving precision. One that is there in the
first and gone in the others vanished in rounding, and is called so.

Legend: T tokens, R rows, V vocabulary, H query heads, K kv heads, D head dim, X columns.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from kernels import reference
from kernels.panels import unpack
from minillm.checkpoint.safetensors import write_atomically
from minillm.llm import LLM
from minillm.model.batch import Batch
from minillm.model.logprobs import token_logprobs
from minillm.model.transformer import Transformer
from rl.drift import ProbeTexts, kl
from rl.optim import check_trainable
from rl.targets import verdict


@dataclass(frozen=True)
class Move:
    """A token after a prefix, and the logprob it is meant to come to; None watches it alone."""

    prefix_ids: Sequence[int]
    token_id: int
    target: float | None = None


@dataclass(frozen=True)
class Moved:
    """One move's logprobs: before, target, and after in exact arithmetic, in the trainer and in the sampler.

    `verdict` is "reached", "on its way", "wrong way", "vanished" (there in exact arithmetic, gone at serving
    precision), "did not move", or "watched" where there is no target; `equal_bits` whether trainer and
    sampler agree in every bit.
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
    """Weights of one kind in one layer (None: outside of layers); norms are those of all of them, in float64.

    `changed` counts those whose value at serving precision is another than before, `touched` those whose
    own value is.
    """

    layer: int | None
    kind: str
    weights: int
    changed: int
    touched: int
    gradient_norm: float | None
    update_norm: float
    weight_norm: float


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
class Report:
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
        return sum(t.changed for t in self.tensors) / max(1, sum(t.weights for t in self.tensors))

    @property
    def touched(self) -> float:
        """Share of weights that changed in their own dtype."""
        return sum(t.touched for t in self.tensors) / max(1, sum(t.weights for t in self.tensors))

    def __str__(self) -> str:
        verdicts: dict[str, int] = {}
        for move in self.moves:
            verdicts[move.verdict] = verdicts.get(move.verdict, 0) + 1
        said = ", ".join(f"{count} {verdict}" for verdict, count in verdicts.items()) or "no moves"
        said = f"update {self.step}: {said}; {self.changed:.2%} of weights changed at serving precision"
        if self.changed != self.touched:
            said += f" ({self.touched:.2%} in their own dtype)"
        if self.drift is not None:
            mean, most = self.drift.mean_absolute, self.drift.largest
            said += f"; probe moved by {mean:.2g} nats on average, {most:.2g} at most"
        return said

    def to_dict(self) -> dict[str, Any]:
        """All of it as JSON data."""
        return asdict(self)

    def tables(self) -> list[Table]:
        """Moves; weights by layer and by kind; drift."""
        return [
            _moves_table(self),
            _weights_table(self, "layer"),
            _weights_table(self, "kind"),
            _rest_table(self),
        ]

    def print(self, console: Console | None = None) -> None:
        """The tables, for people."""
        console = console or Console()
        console.print(str(self))
        for table in self.tables():
            console.print(table)

    def save(self, folder: str | Path) -> Path:
        """Write update-<step>.json and, where matplotlib is there, update-<step>.png; the former's path."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"update-{self.step}.json"
        text = json.dumps(self.to_dict())
        write_atomically(path, lambda temporary: temporary.write_text(text))
        try:
            import matplotlib.figure  # noqa: F401
        except ImportError:
            return path
        write_atomically(path.with_suffix(".png"), lambda temporary: plot(self, temporary))
        return path


class Audit:
    """Watches updates of the live model of an `LLM`.

    Args:
        llm: whose model is trained, and which serves it.
        probe: token ids of texts whose logprobs are not meant to move.

    Holds one copy of the weights between `begin` and `end`, and the probe's distributions, (R, V) in float32,
    at the start and before the update. Raises `MinillmError` for probe texts of fewer than two tokens, or
    that are no sequences for the model.
    """

    def __init__(self, llm: LLM, probe: Sequence[Sequence[int]] = ()) -> None:
        self.llm, self.model = llm, llm.model
        check_trainable(self.model)
        self._probe = ProbeTexts(self.model, probe)
        self.probe = self._probe.texts
        self.steps = 0
        # In the weights' dtype throughout, and at least float32: where a move that is in the weights shows.
        wide = torch.promote_types(self.model.precision.weights, torch.float32)
        self.exact = self.model.at("fp64" if wide == torch.float64 else "fp32")
        self._reference_RV = self._probe.rows()

    def begin(self, moves: Sequence[Move] = ()) -> Update:
        """Look before an update: call `end` of what this gives after it."""
        self.steps += 1
        return Update(self, moves)


class Update:
    """One update that is being watched: made by `Audit.begin`."""

    def __init__(self, audit: Audit, moves: Sequence[Move]) -> None:
        self._audit, self._moves = audit, list(moves)
        for move in self._moves:
            audit.model.check_tokens([*move.prefix_ids, move.token_id])
        self._before = self._sampled()
        self._exact_before = _trained(audit.exact, self._moves)
        self._probe_RV = audit._probe.rows()
        self._weights = {name: p.detach().clone() for name, p in audit.model.named_parameters()}
        self._squares: dict[str, float] = {}

    @torch.no_grad()
    def gradients(self) -> None:
        """Note the gradients that are there now, before the optimizer clears them; the last call counts."""
        self._squares = {
            name: p.grad.double().square().sum().item()
            for name, p in self._audit.model.named_parameters()
            if p.grad is not None
        }

    def _sampled(self) -> torch.Tensor:
        """The sampler's logprobs of all moves, float32."""
        if not self._moves:
            return torch.empty(0)
        rows_RV = self._audit.llm.next_token_logprobs([list(move.prefix_ids) for move in self._moves])
        return rows_RV[range(len(self._moves)), [move.token_id for move in self._moves]].float().cpu()

    @torch.no_grad()
    def end(self) -> Report:
        """Look after the update."""
        audit, model = self._audit, self._audit.model
        if not self._squares:
            self.gradients()
        sampled, trained = self._sampled(), _trained(model, self._moves)
        exact = _trained(audit.exact, self._moves)
        moved = [
            Moved(
                token_id=move.token_id,
                prefix_tokens=len(move.prefix_ids),
                before=self._before[i].item(),
                target=move.target,
                exact_before=self._exact_before[i].item(),
                exact_after=exact[i].item(),
                trained=trained[i].item(),
                sampled=sampled[i].item(),
                equal_bits=torch.equal(trained[i].float(), sampled[i]),
                verdict=verdict(
                    self._before[i].item(),
                    sampled[i].item(),
                    move.target,
                    exact[i].item() - self._exact_before[i].item(),
                ),
            )
            for i, move in enumerate(self._moves)
        ]
        report = Report(
            step=audit.steps,
            precision={k: str(v).removeprefix("torch.") for k, v in vars(model.precision).items()},
            moves=moved,
            tensors=self._tensors(),
            activations=_activations(model, [*(move.prefix_ids for move in self._moves), *audit.probe]),
            drift=self._drift(),
        )
        self._weights.clear()
        return report

    def _tensors(self) -> list[Tensors]:
        model, found = self._audit.model, []
        for name, p in model.named_parameters():
            before = self._weights[name]
            # The columns that fill up a panel are no weights.
            N = model._widths.get(name)
            old, new = (x if N is None else unpack(x, N) for x in (before, p.detach()))
            compute = model.precision.compute
            place = name.split(".")
            found.append(
                Tensors(
                    layer=int(place[1]) if len(place) > 1 else None,
                    kind=place[-1],
                    weights=old.numel(),
                    changed=int((old.to(compute) != new.to(compute)).sum()),
                    touched=int((old != new).sum()),
                    gradient_norm=math.sqrt(self._squares[name]) if name in self._squares else None,
                    update_norm=(new.double() - old.double()).norm().item(),
                    weight_norm=new.double().norm().item(),
                )
            )
        return found

    def _drift(self) -> Drift | None:
        audit, before_RV = self._audit, self._probe_RV
        after_RV = audit._probe.rows()
        if not audit.probe:
            return None
        chosen_R = torch.tensor(
            [t for ids in audit.probe for t in ids[1:]], device=after_RV.device
        ).unsqueeze(1)
        change_R = (after_RV.gather(1, chosen_R) - before_RV.gather(1, chosen_R)).squeeze(1).double()
        places = [(s, t) for s, ids in enumerate(audit.probe) for t in range(1, len(ids))]

        worst = int(change_R.abs().argmax())
        return Drift(
            tokens=len(places),
            mean=change_R.mean().item(),
            mean_absolute=change_R.abs().mean().item(),
            largest=change_R.abs()[worst].item(),
            largest_token=places[worst],
            kl=kl(before_RV, after_RV),
            kl_reference=kl(audit._reference_RV, after_RV),
        )


@torch.no_grad()
def _trained(model: Transformer, moves: Sequence[Move]) -> torch.Tensor:
    """The trainer's forward, at a model's own precision: the moves' logprobs."""
    rows = token_logprobs(model, [[*move.prefix_ids, move.token_id] for move in moves])
    return torch.stack([row[-1] for row in rows]).cpu() if rows else torch.empty(0)


@torch.no_grad()
def _activations(model: Transformer, sequences: Sequence[Sequence[int]]) -> list[Activations]:
    """Hidden-state RMS and largest attention logit by layer, of the trainer's forward."""
    if not sequences:
        return []
    config, device = model.config, model.head.device
    batch = Batch.packed([len(ids) for ids in sequences], device)
    rms, largest = [0.0] * config.num_layers, [0.0] * config.num_layers

    def observe(layer: int, what: str, values_TX: torch.Tensor) -> None:
        if what == "residual":
            rms[layer] = values_TX.double().square().mean().sqrt().item()
            return
        H, K, D = config.heads
        q_THD = values_TX[:, : H * D].unflatten(1, (H, D)).float()
        k_TKD = values_TX[:, H * D : (H + K) * D].unflatten(1, (K, D)).float()
        cos, sin = model._tables[config.layer_rope[layer]]
        q_THD, k_TKD = (reference.rope(x, cos.float(), sin.float(), batch.position_T) for x in (q_THD, k_TKD))
        k_THD = k_TKD.repeat_interleave(H // K, 1)
        window = config.windows[layer]
        most = -math.inf
        for start, end in zip(batch.bounds, batch.bounds[1:], strict=False):
            s_HTT = torch.einsum("thd,shd->hts", q_THD[start:end], k_THD[start:end]) * config.scale
            seen = torch.ones(s_HTT.shape[1:], dtype=torch.bool, device=device).tril()
            if window:
                seen = seen.triu(1 - window)
            most = max(most, s_HTT.masked_fill(~seen, -math.inf).max().item())
        largest[layer] = most

    model.observer = observe
    try:
        model(torch.tensor([t for ids in sequences for t in ids], device=device), batch)
    finally:
        model.observer = None
    return [Activations(i, r, m) for i, (r, m) in enumerate(zip(rms, largest, strict=True))]


# ---------------------------------------------------------------- for people


def _number(value: float | None, form: str = ".3g") -> str:
    return "" if value is None else format(value, form)


def _moves_table(report: Report) -> Table:
    table = Table(title=f"update {report.step}: logprobs")
    for name in (
        "token",
        "after",
        "before",
        "target",
        "exact after",
        "trainer after",
        "sampler after",
        "bits",
        "",
    ):
        table.add_column(name, justify="left" if name in ("", "bits") else "right")
    for m in report.moves:
        values = (m.before, m.target, m.exact_after, m.trained, m.sampled)
        table.add_row(
            str(m.token_id),
            f"{m.prefix_tokens} tokens",
            *(_number(v, ".5f") for v in values),
            "equal" if m.equal_bits else "DIFFER",
            m.verdict,
        )
    return table


def _groups(report: Report, by: str) -> dict[str, list[Tensors]]:
    groups: dict[str, list[Tensors]] = {}
    for t in report.tensors:
        name = t.kind if by == "kind" else "outside" if t.layer is None else str(t.layer)
        groups.setdefault(name, []).append(t)
    return groups


def _norm(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return math.sqrt(sum(v * v for v in known)) if known else None


def _weights_table(report: Report, by: str) -> Table:
    table = Table(title=f"update {report.step}: weights by {by}")
    for name in (
        by,
        "weights",
        "changed",
        "at serving precision",
        "gradient",
        "update",
        "norm",
        "update / norm",
    ):
        table.add_column(name, justify="left" if name == by else "right")
    activations = {str(a.layer): a for a in report.activations} if by == "layer" else {}
    if activations:
        table.add_column("hidden RMS", justify="right")
        table.add_column("largest logit", justify="right")
    for name, group in _groups(report, by).items():
        count = sum(t.weights for t in group)
        update, norm = _norm([t.update_norm for t in group]), _norm([t.weight_norm for t in group])
        row = [
            name,
            f"{count:,}",
            f"{sum(t.touched for t in group) / count:.2%}",
            f"{sum(t.changed for t in group) / count:.2%}",
            _number(_norm([t.gradient_norm for t in group])),
            _number(update),
            _number(norm),
            _number(update / norm if update is not None and norm else None),
        ]
        if (a := activations.get(name)) is not None:
            row += [_number(a.hidden_rms), _number(a.largest_logit)]
        table.add_row(*row)
    return table


def _rest_table(report: Report) -> Table:
    table = Table(title=f"update {report.step}: what was not meant to move", show_header=False)
    if (d := report.drift) is not None:
        text, place = d.largest_token
        table.add_row("probe tokens", f"{d.tokens:,}")
        table.add_row("mean change of a logprob", f"{d.mean:+.3g}")
        table.add_row("mean absolute change", f"{d.mean_absolute:.3g}")
        table.add_row("largest change", f"{d.largest:.3g} (text {text}, token {place})")
        table.add_row("KL(before, after)", f"{d.kl:.3g}")
        table.add_row("KL(start of the audit, after)", f"{d.kl_reference:.3g}")
    return table


def plot(report: Report, path: Path) -> None:
    """A picture of a report: moves, weights that changed, updates, activations. Needs matplotlib."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13, 8), layout="constrained")
    (moves, changed), (updates, activations) = figure.subplots(2, 2)
    figure.suptitle(str(report), fontsize=10)
    for i, m in enumerate(report.moves):
        if m.target is not None:
            moves.plot([i, i], [m.before, m.target], color="lightgray", linewidth=6, zorder=1)
            moves.plot(i, m.target, "_", color="black", markersize=18, label="target" if i == 0 else None)
        for name, value, marker, color in (
            ("before", m.before, "o", "gray"),
            ("after, exact", m.exact_after, "D", "tab:green"),
            ("after, trainer", m.trained, "s", "tab:blue"),
            ("after, sampler", m.sampled, "x", "tab:red"),
        ):
            moves.plot(i, value, marker, color=color, label=name if i == 0 else None, zorder=2)
    moves.set(title="moves", ylabel="logprob (nats)")
    moves.set_xticks(
        range(len(report.moves)), [f"{m.token_id}\n{m.verdict}" for m in report.moves], fontsize=8
    )
    if report.moves:
        moves.legend(fontsize=8)
    layers = _groups(report, "layer")
    names = list(layers)
    for label, field in (("in their own dtype", "touched"), ("at serving precision", "changed")):
        shares = [
            100 * sum(getattr(t, field) for t in layers[n]) / sum(t.weights for t in layers[n]) for n in names
        ]
        changed.plot(names, shares, "o-", markersize=3, label=label)
    changed.set(title="weights that changed", ylabel="%", xlabel="layer", ylim=(-3, 103))
    changed.legend(fontsize=8)
    for kind, group in _groups(report, "kind").items():
        inside = [t for t in group if t.layer is not None and t.weight_norm > 0]
        if inside:
            relative = [t.update_norm / t.weight_norm for t in inside]
            updates.plot([t.layer for t in inside], relative, "o-", markersize=3, label=kind)
    updates.set(title="update / weight norm", xlabel="layer")
    if any(t.update_norm for t in report.tensors):
        updates.set_yscale("log")
    if updates.lines:
        updates.legend(fontsize=7, ncols=2)
    if report.activations:
        numbers = [a.layer for a in report.activations]
        activations.plot(
            numbers, [a.hidden_rms for a in report.activations], "o-", markersize=3, label="hidden RMS"
        )
        activations.plot(
            numbers,
            [a.largest_logit for a in report.activations],
            "o-",
            markersize=3,
            label="largest attention logit",
        )
        activations.legend(fontsize=8)
    activations.set(title="activations", xlabel="layer")
    for axes in (moves, changed, updates, activations):
        axes.grid(alpha=0.3)
    for label in changed.get_xticklabels():
        label.set(fontsize=6, rotation=90)
    figure.savefig(path, dpi=110, format="png")
