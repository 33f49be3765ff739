"""`minillm.parity`: what `compare` counts, that it counts planted faults, and what `probe` says."""

from __future__ import annotations

import json
import math
import random
import runpy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from kernels.cpu import ops as cpu_ops
from kernels.ops import matmul as matmul_op
from kernels.ops.matmul import grouped_matmul, matmul
from kernels.panels import unpack
from minillm import (
    LLM,
    MinillmError,
    RequestOutput,
    SamplingParams,
    Transformer,
    load_model,
    parity,
    save_model,
    token_logprobs,
)
from minillm.checkpoint.keys import hf_shapes
from minillm.checkpoint.read_config import read_config
from minillm.engine.decode_graph import DecodeGraphs
from minillm.engine.engine import Engine
from minillm.model import transformer
from minillm.model.master_weights import rounded
from minillm.model.precision import PRESETS
from minillm.parity import Parity, compare, probe

PRECISIONS = ("fp32", "bf16", "fp32-attn-bf16", "bf16-master-fp32")
LENGTHS = (65, 1, 130, 16, 33)  # around the borders of tiles and pages
GOLDEN = Path(__file__).parents[1] / "golden"
script = runpy.run_path(str(GOLDEN / "write_families.py"))

MakeModel = Callable[..., Transformer]
Product = Callable[..., torch.Tensor]


def family(name: str, folder: Path, precision: str) -> Transformer:
    config = json.loads((GOLDEN / "families.json").read_text())[name]["config"]
    (folder / "config.json").write_text(json.dumps(config))
    script["fill"](folder, hf_shapes(read_config(folder)))
    return load_model(folder, precision)


def small_llm(model: Transformer, **options: Any) -> LLM:
    return LLM(model, **{"kv_cache_memory_bytes": 1 << 24, **options})


def prompts_of(vocabulary: int, lengths: Sequence[int] = LENGTHS) -> list[list[int]]:
    rng = random.Random(7)
    return [[rng.randrange(vocabulary) for _ in range(n)] for n in lengths]


def sample(llm: LLM, lengths: Sequence[int] = LENGTHS, **params: Any) -> list[RequestOutput]:
    """12 tokens, unless told otherwise, after each of some prompts."""
    given = {"max_tokens": 12, "temperature": 1.0, "logprobs": 0, "ignore_eos": True, **params}
    prompts = prompts_of(llm.model.config.vocab_size, lengths)
    return llm.generate(prompts, [SamplingParams(seed=i, **given) for i in range(len(prompts))])


def adamw_step(model: Transformer, outputs: Sequence[RequestOutput], rate: float = 1e-3) -> None:
    """One step that makes what was sampled less likely."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, weight_decay=0.0)
    sequences = [r.prompt_token_ids + o.token_ids for r in outputs for o in r.outputs]
    torch.cat(token_logprobs(model, sequences)).mean().backward()
    optimizer.step()


def expect_none(found: Parity, tokens: int, sequences: int) -> None:
    assert str(found) == f"{tokens} tokens of {sequences} sequences: 0 differ"
    assert (found.tokens, found.sequences) == (tokens, sequences)
    assert found.differing == found.bits == 0 and found.first is None, str(found)
    assert found.largest == found.total == found.mean == 0.0


def expect_fault(found: Parity, outputs: Sequence[RequestOutput]) -> None:
    """Tokens differ, and the first of them is named as it stands in the outputs."""
    assert 0 < found.differing <= found.bits and 0 < found.mean <= found.largest
    first = found.first
    assert first is not None and first.sampled != first.trained
    sampled = [output for request in outputs for output in request.outputs][first.sequence]
    assert sampled.logprobs is not None
    assert sampled.token_ids[first.position] == first.token_id
    assert sampled.logprobs[first.position][first.token_id].logprob == first.sampled
    where = f"sequence {first.sequence}, sampled token {first.position} (id {first.token_id})"
    assert f"{found.differing} differ, in {found.bits} bits; first {where}: " in str(found)
    assert f"the sampler says {first.sampled!r}, the trainer {first.trained!r}" in str(found)


# --- what is counted ---


@pytest.mark.parametrize("precision", PRECISIONS)
def test_sampler_and_trainer_do_not_differ(tiny_llama: MakeModel, precision: str) -> None:
    model = tiny_llama(precision)
    expect_none(compare(model, sample(small_llm(model))), 5 * 12, 5)
    forks = sample(small_llm(model, max_num_batched_tokens=16), n=4, temperature=0.7, max_tokens=9)
    expect_none(compare(model, forks, temperature=0.7), 5 * 4 * 9, 20)
    # Of another temperature, everything differs.
    expect_fault(compare(model, forks), forks)
    assert all(p.grad is None for p in model.parameters())


def test_counts_are_added_up_and_told(tiny_llama: MakeModel) -> None:
    model, told = tiny_llama(), list[int]()
    found, outputs = Parity(), sample(small_llm(model), n=2, max_tokens=5)
    assert compare(model, outputs, into=found, advance=told.append) is found
    with torch.inference_mode():
        compare(model, iter(outputs[:2]), into=found, advance=told.append)
    expect_none(found, 14 * 5, 14)
    assert told == [5] * 14
    expect_none(compare(model, []), 0, 0)


def test_sequences_are_shared_out_over_forwards(
    tiny_llama: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_llama()
    outputs = sample(small_llm(model), n=2)
    whole = [len(r.prompt_token_ids) + len(o.token_ids) for r in outputs for o in r.outputs]
    wrong = outputs[3].outputs[1]
    assert wrong.logprobs is not None
    entry = wrong.logprobs[4][wrong.token_ids[4]]
    true, entry.logprob = entry.logprob, torch.tensor(entry.logprob - 0.5).item()
    forwards: list[list[int]] = []

    def scored(model: Transformer, sequences: list[list[int]], temperature: float) -> list[torch.Tensor]:
        forwards.append([len(s) for s in sequences])
        return token_logprobs(model, sequences, temperature)

    monkeypatch.setattr(parity, "token_logprobs", scored)
    for tokens in (1, 20, 160, 1000):
        monkeypatch.setattr(parity, "TOKENS", tokens)
        forwards.clear()
        found = compare(model, outputs)
        assert [n for lengths in forwards for n in lengths] == whole
        # One that is longer than a forward has one of its own, and none is emptier than it need be.
        assert all(sum(lengths) <= tokens or len(lengths) == 1 for lengths in forwards)
        assert all(sum(a) + b[0] > tokens for a, b in pairwise(forwards))
        assert (found.tokens, found.sequences, found.differing) == (10 * 12, 10, 1)
        assert found.first == parity.Difference(7, 4, wrong.token_ids[4], entry.logprob, true)
    assert len(forwards) == 1


def plant(monkeypatch: pytest.MonkeyPatch, name: str, function: Callable[..., torch.Tensor]) -> None:
    """Put a function in the place of an operation, wherever it is called from."""
    for module in (transformer, parity):
        if hasattr(module, name):
            monkeypatch.setattr(module, name, function)


def test_the_trainers_forward_is_the_one_with_a_gradient(
    tiny_llama: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fault of the ops that only autograd sees."""
    model = tiny_llama()
    outputs = sample(small_llm(model))
    exact: Product = matmul_op._matmul

    def faulty(*args: Any) -> torch.Tensor:
        return exact(*args) * (1 + 2**-22)

    monkeypatch.setattr(matmul_op, "_matmul", faulty)
    expect_fault(compare(model, outputs), outputs)
    monkeypatch.undo()
    expect_none(compare(model, outputs), 5 * 12, 5)


def test_outputs_without_logprobs_are_refused(tiny_llama: MakeModel) -> None:
    model = tiny_llama()
    outputs = sample(small_llm(model), logprobs=None)
    with pytest.raises(MinillmError, match="has no logprobs; ask for them"):
        compare(model, outputs)


def flipped(x: float, bits: int = 1) -> float:
    """A float32 with some of its bits changed."""
    changed = torch.tensor([x]).view(torch.int32) ^ torch.tensor([bits], dtype=torch.int64).int()
    return float(changed.view(torch.float32))


def test_one_bit_is_counted_and_named() -> None:
    found = Parity()
    found.add([5, 6], torch.tensor([-1.5, -0.25]), torch.tensor([-1.5, -0.25]))
    other = flipped(-0.25)
    assert other == -0.25 - 2**-25 or other == -0.25 + 2**-25
    found.add([7, 8, 9], torch.tensor([-3.0, -0.25, -2.0]), torch.tensor([-3.0, other, -2.0]))
    found.add([3], torch.tensor([-4.0]), torch.tensor([-2.0]))  # an exponent's last bit
    assert (found.sequences, found.tokens, found.differing, found.bits) == (3, 6, 2, 2)
    assert found.first == parity.Difference(1, 1, 8, -0.25, other)
    assert found.largest == 2.0 and found.total == 2.0 + 2**-25 and found.mean == found.total / 6
    assert str(found) == (
        "6 tokens of 3 sequences: 2 differ, in 2 bits; first sequence 1, sampled token 1 (id 8): "
        f"the sampler says -0.25, the trainer {other!r}"
    )


def test_what_is_no_number_is_counted_too() -> None:
    nan, inf = math.nan, math.inf
    found = Parity()
    # Equal bits do not differ, whatever they are.
    found.add([1, 2, 3], torch.tensor([nan, -inf, -0.0]), torch.tensor([nan, -inf, -0.0]))
    expect_none(found, 3, 1)
    found.add([4, 5], torch.tensor([-0.0, -1.0]), torch.tensor([0.0, -1.0]))
    assert (found.differing, found.bits, found.largest) == (1, 1, 0.0)
    assert found.first == parity.Difference(1, 0, 4, -0.0, 0.0) and "-0.0" in str(found)
    # A finite gap beside it is not forgotten, and what has no size is infinite.
    found.add([6, 7], torch.tensor([-1.0, -2.0]), torch.tensor([-1.5, -2.0]))
    assert found.largest == 0.5
    for sampled, trained in ((nan, -1.0), (-inf, -1.0), (nan, inf), (inf, -inf), (-1.0, nan)):
        found = Parity()
        found.add([7, 8], torch.tensor([sampled, -2.0]), torch.tensor([trained, -2.0]))
        assert found.differing == 1 and found.largest == found.total == inf and found.mean == inf
        assert f"says {sampled!r}, the trainer {trained!r}" in str(found)


@given(st.lists(st.tuples(*[st.integers(-(2**31), 2**31 - 1)] * 2)))
def test_bits_are_those_of_float32(patterns: list[tuple[int, int]]) -> None:
    found, shape = Parity(), (len(patterns), 2)
    pair_T2 = torch.tensor(patterns, dtype=torch.int32).view(shape).view(torch.float32)
    found.add(range(len(patterns)), pair_T2[:, 0].contiguous(), pair_T2[:, 1].contiguous())
    assert found.bits == sum(((a ^ b) & 0xFFFFFFFF).bit_count() for a, b in patterns)
    assert found.differing == sum(a != b for a, b in patterns) and found.tokens == len(patterns)
    assert found.sequences == 1 and found.largest <= found.total


def test_lengths_that_do_not_fit_are_refused() -> None:
    two, three = torch.zeros(2), torch.zeros(3)
    for token_ids, sampled, trained in (([1, 2], two, three), ([1, 2, 3], two, two), ([1, 2], three, two)):
        with pytest.raises(MinillmError, match=r"tokens have \(\d,\) and \(\d,\) logprobs"):
            Parity().add(token_ids, sampled, trained)


# --- planted faults: each is counted, and its absence is ---


def products(make: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> Product:
    """What `matmul` would be with float32 sums made by `make`."""

    def matmul(
        x_RK: torch.Tensor,
        w_PKW: torch.Tensor,
        N: int,
        scales_PGW: torch.Tensor | None = None,
        bias_N: torch.Tensor | None = None,
        wide: bool = False,
    ) -> torch.Tensor:
        assert scales_PGW is None and bias_N is None
        out_RN = make(x_RK.float(), unpack(w_PKW, N).float())
        return out_RN if wide else out_RN.to(x_RK.dtype)

    return matmul


def plain(x_RK: torch.Tensor, w_KN: torch.Tensor) -> torch.Tensor:
    """torch's own product, of as many rows as there are."""
    return F.linear(x_RK, w_KN.t().contiguous())


def split_for_few(x_RK: torch.Tensor, w_KN: torch.Tensor) -> torch.Tensor:
    """Whole tiles of rows, and for few rows two halves of K, as GPU libraries fill a device in decode."""
    R, half = x_RK.shape[0], x_RK.shape[1] // 2
    x_RK = F.pad(x_RK, (0, 0, 0, -R % 16))
    if R >= 12:
        return (x_RK @ w_KN)[:R]
    return (x_RK[:, :half] @ w_KN[:half] + x_RK[:, half:] @ w_KN[half:])[:R]


def padded(x_RK: torch.Tensor, w_KN: torch.Tensor) -> torch.Tensor:
    """The control: tiles of rows, each like the others."""
    tiles = F.pad(x_RK, (0, 0, 0, -x_RK.shape[0] % 16)).split(16)
    return torch.cat([tile.clone() @ w_KN for tile in tiles])[: x_RK.shape[0]]


def shows() -> bool:
    """Whether, on this machine, torch's product of 5 rows differs from that of many."""
    generator = torch.Generator().manual_seed(0)
    x_RK, w_KN = (torch.randn(n, 48, generator=generator) for n in (305, 160))
    few_RN = F.linear(x_RK[:5], w_KN)
    return all(not torch.equal(F.linear(x_RK[:R], w_KN)[:5], few_RN) for R in (67, 305))


@pytest.fixture
def two_threads() -> Iterator[None]:
    """On one, torch's products may keep rows apart."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize(
    ("fault", "precision"), [(plain, "fp32"), (split_for_few, "fp32"), (split_for_few, "bf16")]
)
def test_products_of_few_rows_in_another_order(
    tiny_llama: MakeModel, monkeypatch: pytest.MonkeyPatch, fault: Any, precision: str
) -> None:
    if fault is plain and not shows():
        pytest.skip("this machine's F.linear keeps rows apart: no fault to plant")
    model = tiny_llama(precision)
    plant(monkeypatch, "matmul", products(padded))
    control = probe(model)
    assert control.holds, str(control)
    expect_none(compare(model, sample(small_llm(model))), 5 * 12, 5)
    plant(monkeypatch, "matmul", products(fault))
    outputs = sample(small_llm(model))
    expect_fault(compare(model, outputs), outputs)
    said = probe(model)
    assert not said.holds and said.broken[0].startswith("head (48 by 160) with ")
    assert "5" in said.broken[0].removesuffix(" rows").split("with ")[1].split(", ")
    assert str(said).startswith(f"ROW INVARIANCE DOES NOT HOLD (CPU kernels): {said.broken[0]}")
    assert str(said).endswith("; this is a fault, of kernels that should keep rows apart: please report it")
    if fault is split_for_few:
        few = "1, 2, 3, 4, 5, 6, 7, 8, 9 rows"
        shapes = "head (48 by 160)", "layers.0.o (96 by 64)", "layers.0.gate_up (48 by 128)"
        assert said.broken == [f"{shape} with {few}" for shape in (*shapes, "layers.0.down (53 by 64)")]
    monkeypatch.undo()
    expect_none(compare(model, sample(small_llm(model))), 5 * 12, 5)
    assert probe(model).holds


def by_blocks(backwards_in_decode: bool) -> Callable[..., torch.Tensor]:
    """`rope_store_attention`, a row at a time in plain torch: pages of keys one after the other."""

    def attention(
        qkv_TX: torch.Tensor,
        heads: tuple[int, int, int],
        tables: tuple[torch.Tensor, torch.Tensor],
        k_PKDS: torch.Tensor,
        v_PKSE: torch.Tensor,
        batch: Any,
        scores: Any,
        *others: Any,
    ) -> torch.Tensor:
        slots = (batch.position_T, batch.slot_T, k_PKDS, v_PKSE)
        q_THD, _ = cpu_ops.rope_store(qkv_TX.detach(), heads, *tables, *slots, None)
        group, S, rows = heads[0] // heads[1], k_PKDS.shape[3], []
        for b, (begin, end) in enumerate(pairwise(batch.bounds)):
            for t in range(begin, end):
                keys = int(batch.position_T[t]) + 1
                pages = list(enumerate(batch.page_BP[b].tolist()[: -(-keys // S)]))
                if backwards_in_decode and batch.is_decode and any(batch.starts):
                    pages.reverse()
                m = torch.full(heads[:1], -torch.inf)
                total, acc = torch.zeros(heads[0]), torch.zeros(heads[0], v_PKSE.shape[3])
                for j, page in pages:
                    n = min(S, keys - j * S)
                    k, v = k_PKDS[page, :, :, :n].transpose(1, 2), v_PKSE[page, :, :n]
                    k, v = (x.repeat_interleave(group, 0).contiguous() for x in (k, v))
                    s = (q_THD[t].unsqueeze(1) * k).sum(-1) * scores.scale
                    top = torch.maximum(m, s.amax(1))
                    p, shrink = torch.exp(s - top.unsqueeze(1)), torch.exp(m - top)
                    total = total * shrink + p.sum(1)
                    acc = acc * shrink.unsqueeze(1) + (p.unsqueeze(2) * v).sum(1)
                    m = top
                rows.append(acc / total.unsqueeze(1))
        return torch.stack(rows)

    return attention


def test_keys_in_another_order(tiny_llama: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Decode that starts at the last page of keys: the same sum, in another order."""
    model, lengths = tiny_llama(), (65, 20, 130, 3)
    plant(monkeypatch, "rope_store_attention", by_blocks(False))
    expect_none(compare(model, sample(small_llm(model), lengths)), 4 * 12, 4)
    plant(monkeypatch, "rope_store_attention", by_blocks(True))
    outputs = sample(small_llm(model), lengths)
    found = compare(model, outputs)
    expect_fault(found, outputs)
    assert found.largest < 1e-4
    # The first token is of a prefill, and with one page of keys there is one order.
    assert found.first is not None and found.first.position > 0 and found.differing <= 2 * 11
    expect_none(compare(model, [outputs[1], outputs[3]]), 2 * 12, 2)
    monkeypatch.undo()
    expect_none(compare(model, sample(small_llm(model), lengths)), 4 * 12, 4)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_logprobs_of_a_truncated_distribution(tiny_llama: MakeModel, precision: str) -> None:
    model = tiny_llama(precision)
    outputs = sample(small_llm(model, logprobs_mode="processed_logprobs"), top_k=5)
    expect_fault(compare(model, outputs), outputs)
    # Tokens of a truncated sampler are still scored alike where the full distribution is reported.
    expect_none(compare(model, sample(small_llm(model), top_k=5)), 5 * 12, 5)
    whole = sample(small_llm(model, logprobs_mode="processed_logprobs"))
    expect_none(compare(model, whole), 5 * 12, 5)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_keys_and_values_of_old_weights(
    tiny_llama: MakeModel, monkeypatch: pytest.MonkeyPatch, precision: str
) -> None:
    model = tiny_llama(precision)
    llm = small_llm(model)
    outputs = sample(llm)
    expect_none(compare(model, outputs), 5 * 12, 5)
    monkeypatch.setattr(Engine, "reset_prefix_cache", lambda self: None)
    adamw_step(model, outputs)
    # What was sampled before is not what the trainer says now; nor is what comes of stale keys.
    expect_fault(compare(model, outputs), outputs)
    outputs = sample(llm)
    expect_fault(compare(model, outputs), outputs)
    monkeypatch.undo()
    llm.reset_prefix_cache()
    expect_none(compare(model, sample(llm)), 5 * 12, 5)


def test_decode_with_a_rounded_copy_of_old_weights(
    tiny_llama: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_llama("bf16-master-fp32")
    outputs = sample(small_llm(model))
    old = {w: rounded(w, torch.bfloat16).detach().clone() for w in model.parameters()}
    run, decodes = DecodeGraphs.run, False

    def watched(self: DecodeGraphs, tokens_T: torch.Tensor, batch: Any) -> torch.Tensor:
        nonlocal decodes
        decodes = True
        try:
            return run(self, tokens_T, batch)
        finally:
            decodes = False

    def stale(w: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        return old[w] if decodes and dtype == torch.bfloat16 else rounded(w, dtype)  # type: ignore[index]

    monkeypatch.setattr(DecodeGraphs, "run", watched)
    monkeypatch.setattr("minillm.model.transformer.rounded", stale)
    # Not stale yet, and recorded with the copies' addresses.
    llm = small_llm(model)
    expect_none(compare(model, sample(llm)), 5 * 12, 5)
    adamw_step(model, outputs)
    outputs = sample(llm)
    found = compare(model, outputs)
    expect_fault(found, outputs)
    assert found.differing > 5 * 11 / 2
    monkeypatch.undo()
    expect_none(compare(model, sample(small_llm(model))), 5 * 12, 5)


def test_a_recording_whose_copies_nobody_writes_anew(
    tiny_llama: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prompts of one token are decoded from the start: no prefill comes before the recording."""
    model = tiny_llama("bf16-master-fp32")
    llm, lengths = small_llm(model, enable_prefix_caching=False), (1, 1, 1)
    outputs = sample(llm, lengths)
    monkeypatch.setattr(model, "_masters", [])
    expect_none(compare(model, sample(llm, lengths)), 3 * 12, 3)
    adamw_step(model, outputs)
    with torch.no_grad():
        head = rounded(model.head, torch.bfloat16)  # which is read outside of recordings
    assert torch.equal(head, model.head.to(torch.bfloat16))
    outputs = sample(llm, lengths)
    expect_fault(compare(model, outputs), outputs)
    monkeypatch.undo()
    expect_none(compare(model, sample(llm, lengths)), 3 * 12, 3)


# --- probe ---


@pytest.mark.parametrize("precision", PRECISIONS)
def test_rows_are_apart(tiny_llama: MakeModel, precision: str) -> None:
    said = probe(tiny_llama(precision))
    assert said.holds and said.broken == [] and said.path == "CPU kernels"
    assert str(said) == "row invariance holds for all 4 matrix shapes (CPU kernels)"


@pytest.mark.parametrize("compute", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("bits", [8, 4])
def test_rows_are_apart_with_weights_of_whole_numbers(
    tiny_llama: MakeModel, tmp_path: Path, bits: int, compute: torch.dtype
) -> None:
    save_model(tiny_llama(), tmp_path / "tiny")
    precision = replace(PRESETS["int8"], compute=compute, attention=compute, kv_cache=compute, bits=bits)
    model = load_model(tmp_path / "tiny", precision)
    said = probe(model)
    assert said.holds and said.shapes == 4 + (bits == 4), str(said)  # the head has 8
    expect_none(compare(model, sample(small_llm(model))), 5 * 12, 5)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8"])
def test_rows_of_experts_are_apart(tmp_path: Path, precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = family("qwen2_moe", tmp_path, precision)
    said = probe(model)
    assert said.holds and said.path == "CPU kernels", str(said)
    exact = grouped_matmul

    def faulty(x_RK: torch.Tensor, *rest: Any) -> torch.Tensor:
        return exact(x_RK, *rest) * (1 + (len(x_RK) == 3) / 64)

    plant(monkeypatch, "grouped_matmul", faulty)
    again = probe(model)
    assert not again.holds and again.shapes == said.shapes and len(again.broken) == 2
    assert all("experts" in one and one.endswith(" with 3 rows") for one in again.broken), str(again)


def test_a_router_is_probed_in_the_dtype_that_it_runs_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = family("deepseek_v3", tmp_path, "bf16")
    assert model.config.experts is not None and model.config.experts.float_router
    exact = matmul

    def faulty(x_RK: torch.Tensor, *rest: Any, **options: Any) -> torch.Tensor:
        out_RN = exact(x_RK, *rest, **options)
        return out_RN if x_RK.dtype == torch.bfloat16 else out_RN + len(x_RK)

    assert probe(model).holds
    plant(monkeypatch, "matmul", faulty)
    said = probe(model)
    assert len(said.broken) == 1 and ".router (" in said.broken[0], str(said)


def test_plain_torch_promises_nothing(tiny_llama: MakeModel, monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_llama("fp64")
    said = probe(model)
    assert not said.holds and said.path == "plain torch"
    assert "plain torch" in str(said) and "use fp32 or bf16" in str(said)
    plant(monkeypatch, "matmul", lambda x, w, N, *rest, **options: x[:, :1] * w[0, 0, 0])
    apart = probe(model)
    assert not apart.holds and apart.broken == []
    assert "held for all 4 matrix shapes, but plain torch promises none of it" in str(apart)
    plant(monkeypatch, "matmul", lambda x, w, N, *rest, **options: x.sum(1) + len(x))
    mixed = probe(model, rows=(2, 5))
    assert [one.endswith(" with 2, 5 rows") for one in mixed.broken] == [True] * 4
    assert "DOES NOT HOLD (plain torch)" in str(mixed) and "use fp32 or bf16" in str(mixed)


# --- families ---


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["gemma2", "gpt2", "deepseek_v3"])
def test_families_do_not_differ(name: str, precision: str, tmp_path: Path) -> None:
    """Every family is in `test_family_parity`; these are sampled from, too: windows, caps, experts."""
    model = family(name, tmp_path, precision)
    llm = small_llm(model, max_num_batched_tokens=48)
    found = compare(model, sample(llm, (70, 1, 33), n=2), into=Parity())
    assert found.bits == 0 and found.tokens == 3 * 2 * 12, str(found)


# --- benchmarks.parity ---


def test_the_benchmark_goes_on_where_it_was(demo_model_path: Path, tmp_path: Path) -> None:
    from rich.console import Console

    from benchmarks import parity

    options: dict[str, Any] = {"model": str(demo_model_path), "precisions": ("bf16",), "folder": tmp_path}
    first = parity.ours(parity.Config(**options, tokens=1), Console(quiet=True))
    assert [line["setting"]["name"] for line in first] == [parity.SETTINGS[0].name]
    both = parity.ours(parity.Config(**options, tokens=401), Console(quiet=True))
    assert both[:1] == first and [line["tokens"] for line in both] == [400, 400]
    (row,) = parity.summary(both, parity.Config(**options, their_tokens=0), Console(quiet=True))
    assert (row["tokens"], row["differing"], row["bits"], row["first"]) == (800, 0, 0, None)
    with pytest.raises(MinillmError, match="holds rounds of other options"):
        parity.ours(parity.Config(**{**options, "precisions": ("fp32",)}, tokens=2000), Console(quiet=True))
