"""What did an update do? Moves at serving precision, weights that changed, and what was not meant to move.

For any training loop, as in `rl/examples/5_audit.py`. A move is looked at three times after the update: in
the weights' own dtype with nothing rounded on the way ("exact"), in the trainer's forward and in the sampler,
both at serving precision. One that is there in the first and gone in the others vanished in rounding.

Legend: T tokens, R rows, V vocabulary, H query heads, K kv heads, D head dim, X columns.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from kernels import reference
from kernels.panels import unpack
from minillm.llm import LLM
from minillm.model.batch import Batch
from minillm.model.config import Matrix
from minillm.model.logprobs import token_logprobs
from minillm.model.transformer import Transformer
from rl.audit_report import Activations, Drift, Moved, Tensors, UpdateReport
from rl.evaluate import ProbeTexts, kl
from rl.optim import check_trainable
from rl.targets import verdict


@dataclass(frozen=True)
class Move:
    """A token after a prefix, and the logprob it is meant to come to; None watches it alone."""

    prefix_ids: Sequence[int]
    token_id: int
    target: float | None = None


class Audit:
    """Watches updates of the live model of an `LLM`.

    Args:
        llm: whose model is trained, and which serves it.
        probe: token ids of texts whose logprobs are not meant to move.

    Holds a copy of the weights between `begin` and `end`, and the probe's distributions, (R, V) in float32,
    at the start and before the update. Raises `MinillmError` for probe texts that `ProbeTexts` refuses.
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
        """Look at the model before an update; `end` of what this returns looks after it."""
        self.steps += 1
        return Update(self, list(moves))


class Update:
    """One update that is being watched: made by `Audit.begin`."""

    def __init__(self, audit: Audit, moves: list[Move]) -> None:
        self._audit, self._moves = audit, moves
        for move in moves:
            audit.model.check_tokens([*move.prefix_ids, move.token_id])
        self._before = self._sampled()
        self._exact_before = _trained(audit.exact, self._moves)
        self._probe_RV = audit._probe.rows()
        self._weights = {name: p.detach().clone() for name, p in audit.model.named_parameters()}
        self._gradients: dict[str, float] = {}

    @torch.no_grad()
    def gradients(self) -> None:
        """Note the gradients that are there now, before the optimizer clears them; the last call counts."""
        self._gradients = {
            name: math.sqrt(p.grad.double().square().sum().item())
            for name, p in self._audit.model.named_parameters()
            if p.grad is not None
        }

    def _sampled(self) -> torch.Tensor:
        """Compute the sampler's logprobs of all moves, float32."""
        if not self._moves:
            return torch.empty(0)
        rows_RV = self._audit.llm.next_token_logprobs([list(move.prefix_ids) for move in self._moves])
        return rows_RV[range(len(self._moves)), [move.token_id for move in self._moves]].float().cpu()

    @torch.no_grad()
    def end(self) -> UpdateReport:
        """Look after the update."""
        audit, model, moves = self._audit, self._audit.model, self._moves
        if not self._gradients:
            self.gradients()
        sampled, trained, exact = self._sampled(), _trained(model, moves), _trained(audit.exact, moves)
        report = UpdateReport(
            step=audit.steps,
            precision={k: str(v).removeprefix("torch.") for k, v in vars(model.precision).items()},
            moves=[
                Moved(
                    token_id=move.token_id,
                    prefix_tokens=len(move.prefix_ids),
                    before=(before := self._before[i].item()),
                    target=move.target,
                    exact_before=(exact_before := self._exact_before[i].item()),
                    exact_after=(exact_after := exact[i].item()),
                    trained=trained[i].item(),
                    sampled=(after := sampled[i].item()),
                    equal_bits=torch.equal(trained[i].float(), sampled[i]),
                    verdict=verdict(before, after, move.target, exact_after - exact_before),
                )
                for i, move in enumerate(moves)
            ],
            tensors=self._tensors(),
            activations=_activations(model, [*(move.prefix_ids for move in moves), *audit.probe]),
            drift=self._drift(),
        )
        self._weights.clear()
        return report

    def _tensors(self) -> list[Tensors]:
        """Compare all weights with those before the update."""
        model, tensors = self._audit.model, []
        compute = model.precision.compute
        for name, p in model.named_parameters():
            old, new, shape = self._weights[name], p.detach(), model.config.shapes[name]
            if isinstance(shape, Matrix):  # the columns that fill up a panel are no weights
                old, new = unpack(old, shape.N), unpack(new, shape.N)
            *path, kind = name.split(".")
            tensors.append(
                Tensors(
                    layer=int(path[1]) if path else None,
                    kind=kind,
                    weights=old.numel(),
                    changed=int((old.to(compute) != new.to(compute)).sum()),
                    touched=int((old != new).sum()),
                    gradient_norm=self._gradients.get(name),
                    update_norm=(new.double() - old.double()).norm().item(),
                    weight_norm=new.double().norm().item(),
                )
            )
        return tensors

    def _drift(self) -> Drift | None:
        """Compare the probe's logprobs with those before the update."""
        audit = self._audit
        if not audit.probe:
            return None
        before_RV, after_RV = self._probe_RV, audit._probe.rows()
        places = [(text, i) for text, ids in enumerate(audit.probe) for i in range(1, len(ids))]
        chosen = range(len(places)), [audit.probe[text][i] for text, i in places]
        change_R = (after_RV[chosen] - before_RV[chosen]).double()
        size_R = change_R.abs()
        worst = int(size_R.argmax())
        return Drift(
            tokens=len(places),
            mean=change_R.mean().item(),
            mean_absolute=size_R.mean().item(),
            largest=size_R[worst].item(),
            largest_token=places[worst],
            kl=kl(before_RV, after_RV),
            kl_reference=kl(audit._reference_RV, after_RV),
        )


@torch.no_grad()
def _trained(model: Transformer, moves: Sequence[Move]) -> torch.Tensor:
    """Compute the moves' logprobs by the trainer's forward, at the model's own precision."""
    rows = token_logprobs(model, [[*move.prefix_ids, move.token_id] for move in moves])
    return torch.stack([row[-1] for row in rows]).cpu() if rows else torch.empty(0)


@torch.no_grad()
def _activations(model: Transformer, sequences: Sequence[Sequence[int]]) -> list[Activations]:
    """Measure hidden-state RMS and largest attention logit by layer, in the trainer's forward."""
    if not sequences:
        return []
    config, device = model.config, model.head.device
    batch = Batch.packed([len(ids) for ids in sequences], device)
    rms, largest = [0.0] * config.num_layers, [-math.inf] * config.num_layers

    def observe(layer: int, what: str, values_TX: torch.Tensor) -> None:
        if what == "residual":
            rms[layer] = values_TX.double().square().mean().sqrt().item()
            return
        H, K, D = config.heads
        cos_MR, sin_MR = (table.float() for table in model.rope_tables(layer))
        q_THD, k_TKD = (
            reference.rope(x_TX.unflatten(1, (-1, D)).float(), cos_MR, sin_MR, batch.position_T)
            for x_TX in values_TX[:, : (H + K) * D].split([H * D, K * D], 1)
        )
        k_THD = k_TKD.repeat_interleave(H // K, 1)
        for start, end in zip(batch.bounds, batch.bounds[1:], strict=False):
            s_HTT = torch.einsum("thd,shd->hts", q_THD[start:end], k_THD[start:end]) * config.scale
            visible_TT = torch.ones(s_HTT.shape[1:], dtype=torch.bool, device=device).tril()
            if window := config.windows[layer]:
                visible_TT = visible_TT.triu(1 - window)
            largest[layer] = max(largest[layer], s_HTT.masked_fill(~visible_TT, -math.inf).max().item())

    model.observer = observe
    try:
        model(torch.tensor([t for ids in sequences for t in ids], device=device), batch)
    finally:
        model.observer = None
    return [Activations(i, r, m) for i, (r, m) in enumerate(zip(rms, largest, strict=True))]
