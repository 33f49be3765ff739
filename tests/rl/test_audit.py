"""The audit of an update: its numbers against what they are said to be, and a move that vanishes is named."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from minillm import LLM, MinillmError, Transformer, token_logprobs
from minillm.model.batch import Batch
from minillm.model.config import Matrix
from rl.audit import Audit, Move
from rl.audit_report import UpdateReport
from rl.optim import make_optimizer

MakeModel = Callable[..., Transformer]
PREFIX, TOKEN = [5, 17, 99, 3, 42, 8], 77
PROBE = [[1, 2, 3, 4, 5, 6, 7], [9, 90, 45]]


def pull(model: Transformer, target_up: bool = True) -> None:
    model.zero_grad()
    logprob = token_logprobs(model, [[*PREFIX, TOKEN]])[0][-1]
    (-logprob if target_up else logprob).backward()


def audited(
    model: Transformer, lr: float, steps: int = 1, target: float | None = None, **options: str
) -> tuple[UpdateReport, Audit]:
    audit = Audit(LLM(model, kv_cache_memory_bytes=1 << 24), PROBE)
    update = audit.begin([Move(PREFIX, TOKEN, target), Move(PREFIX[:3], 1)])
    optimizer = make_optimizer(model, lr, **options)
    for _ in range(steps):
        pull(model)
        update.gradients()
        optimizer.step()
    return update.end(), audit


@pytest.mark.parametrize("precision", ["fp32", "fp32-attn-bf16", "bf16-master-fp32", "bf16"])
def test_an_update_is_told_as_it_was(tiny_llama: MakeModel, precision: str, tmp_path: Path) -> None:
    model = tiny_llama(precision, tie_word_embeddings=False)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    with torch.no_grad():
        old = torch.cat(token_logprobs(model, PROBE))
        start = token_logprobs(model, [[*PREFIX, TOKEN]])[0][-1].item()
    report, _ = audited(model, 1e-2, target=start / 2)
    with torch.no_grad():
        new = torch.cat(token_logprobs(model, PROBE))
        after = token_logprobs(model, [[*PREFIX, TOKEN]])[0][-1].item()
    move, watched = report.moves
    assert (move.before, move.trained, move.sampled) == (start, after, after)
    assert move.equal_bits and watched.equal_bits
    assert move.verdict == ("reached" if after >= start / 2 - 0.05 else "on its way")
    assert watched.verdict == "watched"
    if precision == "fp32":
        assert (move.exact_before, move.exact_after) == (start, after)
    change = (new - old).double().abs()
    assert report.drift is not None
    assert report.drift.tokens == 8
    assert report.drift.largest == pytest.approx(change.max().item())
    assert report.drift.mean_absolute == pytest.approx(change.mean().item())
    assert report.drift.kl == report.drift.kl_reference > 0
    told = {(t.layer, t.kind): t for t in report.tensors}
    assert len(told) == len(before)
    for name, p in model.named_parameters():
        layer, kind = (int(name.split(".")[1]), name.split(".")[-1]) if "." in name else (None, name)
        t = told[layer, kind]
        assert p.grad is not None
        assert t.gradient_norm == pytest.approx(p.grad.double().norm().item())
        assert t.update_norm == pytest.approx((p.double() - before[name].double()).norm().item())
        assert t.weight_norm == pytest.approx(p.double().norm().item())
        assert t.touched == int((p != before[name]).sum())
        compute = model.precision.compute
        assert t.changed == int((p.to(compute) != before[name].to(compute)).sum())
        shape = model.config.shapes[name]
        # A panel's columns past the matrix are no weights.
        assert t.weights == (shape.K * shape.N if isinstance(shape, Matrix) else math.prod(shape))
    assert [a.layer for a in report.activations] == [0, 1]
    path = report.save(tmp_path)
    assert json.loads(path.read_text())["moves"][0]["sampled"] == after
    report.print()


def test_a_move_that_vanishes_in_rounding_is_named_at_its_step(tiny_llama: MakeModel) -> None:
    """float32 masters that move by less than bfloat16 can tell, then by more."""
    model = tiny_llama("bf16-master-fp32")
    with torch.no_grad():
        for p in model.parameters():  # where no weight is near a border between two numbers
            p.copy_(p.bfloat16())
    llm = LLM(model, kv_cache_memory_bytes=1 << 24)
    audit, vanished = Audit(llm), []
    for rate in (1e-6, 1e-6, 1e-2):
        update = audit.begin([Move(PREFIX, TOKEN, 0.0)])
        optimizer = make_optimizer(model, rate)
        pull(model)
        optimizer.step()
        report = update.end()
        assert report.touched > 0.5
        vanished.append([move.token_id for move in report.vanished])
        assert ("vanished" in str(report)) == bool(report.vanished)
    assert vanished == [[TOKEN], [TOKEN], []]


def test_stochastic_rounding_moves_what_the_nearest_does_not(tiny_llama: MakeModel) -> None:
    moved, _ = audited(tiny_llama("bf16"), 1e-5, steps=3, rounding="stochastic")
    assert 0 < moved.changed == moved.touched < 0.5
    model = tiny_llama("bf16")
    audit = Audit(LLM(model, kv_cache_memory_bytes=1 << 24))
    update = audit.begin([Move(PREFIX, TOKEN, 0.0)])
    pull(model)
    torch.optim.AdamW(model.parameters(), 1e-5, weight_decay=0.0).step()
    stuck = update.end()
    assert stuck.changed < moved.changed / 5


def test_activations_are_those_of_the_forward(tiny_llama: MakeModel) -> None:
    """Hidden states and the largest logit, against the model computed by hand in float64."""
    model = tiny_llama("fp64")
    report, audit = audited(model, 1e-3)
    seen: dict[int, torch.Tensor] = {}
    model.observer = lambda layer, what, x: seen.update({layer: x}) if what == "residual" else None
    sequences = [PREFIX, PREFIX[:3], *audit.probe]
    with torch.no_grad():
        model(torch.tensor([t for ids in sequences for t in ids]), Batch.packed([len(s) for s in sequences]))
    for a in report.activations:
        assert a.hidden_rms == pytest.approx(seen[a.layer].square().mean().sqrt().item())
        assert math.isfinite(a.largest_logit)


def test_an_update_that_changes_nothing(tiny_llama: MakeModel) -> None:
    model = tiny_llama("bf16")
    audit = Audit(LLM(model, kv_cache_memory_bytes=1 << 24), PROBE)
    report = audit.begin([Move(PREFIX, TOKEN, -0.1)]).end()
    assert report.changed == report.touched == 0
    assert report.moves[0].verdict == "did not move"
    assert report.drift is not None and report.drift.largest == report.drift.kl == 0
    assert all(t.update_norm == 0 and t.gradient_norm is None for t in report.tensors)


def test_the_reference_is_the_start_of_the_audit(tiny_llama: MakeModel) -> None:
    model = tiny_llama("fp32")
    _, audit = audited(model, 1e-3)
    update = audit.begin()
    pull(model)
    make_optimizer(model, 1e-3).step()
    drift = update.end().drift
    assert drift is not None and drift.kl_reference > drift.kl > 0
    assert audit.steps == 2


def test_what_cannot_be_audited(tiny_llama: MakeModel) -> None:
    llm = LLM(tiny_llama("fp32"), kv_cache_memory_bytes=1 << 24)
    with pytest.raises(MinillmError, match="probe text 1 has 1 tokens"):
        Audit(llm, [[1, 2], [3]])
    with pytest.raises(MinillmError, match="token id 131 is out of vocabulary"):
        Audit(llm).begin([Move([1, 2], 131)])
    with pytest.raises(MinillmError, match="weights of 8 bits are for sampling"):
        Audit(LLM(tiny_llama("int8"), kv_cache_memory_bytes=1 << 24))
