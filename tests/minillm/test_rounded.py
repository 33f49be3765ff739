"""Master weights: copies in another dtype that are `w.to(dtype)` at every moment, and stay where they are."""

from __future__ import annotations

import copy
import ctypes
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from torch import nn

from minillm import LLM, RequestOutput, SamplingParams, Transformer, save_model, token_logprobs
from minillm.checkpoint.load import load_weights
from minillm.model.master_weights import rounded

F32, BF16, F64 = torch.float32, torch.bfloat16, torch.float64
PAIRS = ((F32, BF16), (F32, torch.float16), (BF16, F32), (F64, BF16), (F64, F32))
PROMPTS = [[1, 2, 3], [4, 5, 6, 7, 8], [9]]  # the last one is decoded from the start

MakeModel = Callable[..., Transformer]


def parameter(dtype: torch.dtype = F32) -> nn.Parameter:
    generator = torch.Generator().manual_seed(0)
    return nn.Parameter(torch.randn(7, 5, generator=generator).to(dtype))


# --- one weight ---


@pytest.mark.parametrize("dtype", [F32, BF16, F64])
def test_its_own_dtype_is_itself(dtype: torch.dtype) -> None:
    w = parameter(dtype)
    assert rounded(w, dtype) is w


def by_optimizer(w: nn.Parameter) -> None:
    w.grad = torch.ones_like(w)
    torch.optim.SGD([w], lr=0.5).step()


def by_a_fused_optimizer(w: nn.Parameter) -> None:
    w.grad = torch.ones_like(w)
    torch.optim.AdamW([w], lr=0.5, fused=True).step()


@torch.no_grad()
def in_place(w: nn.Parameter) -> None:
    w.mul_(1.5)


@torch.inference_mode()
def in_inference_mode(w: nn.Parameter) -> None:
    w.add_(0.25)


@torch.no_grad()
def through_a_view(w: nn.Parameter) -> None:
    w[2:4, 3] *= 7.0


def put_elsewhere(w: nn.Parameter) -> None:
    w.data = w.data * 2


CHANGES = (by_optimizer, by_a_fused_optimizer, in_place, in_inference_mode, through_a_view, put_elsewhere)


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("own", "other"), PAIRS)
def test_values_follow_every_change_in_the_same_memory(
    own: torch.dtype, other: torch.dtype, change: Callable[[nn.Parameter], None]
) -> None:
    w = parameter(own)
    found = rounded(w, other).detach()
    assert found.dtype == other and torch.equal(found, w.to(other))
    for _ in range(2):
        change(w)
        assert not torch.equal(found, w.to(other))
        again = rounded(w, other)
        assert torch.equal(again, w.to(other)) and again.data_ptr() == found.data_ptr()
        # Whoever holds the copy sees the change.
        assert torch.equal(found, again)


def test_copies_of_two_dtypes_are_two() -> None:
    w = parameter(F64)
    a, b = rounded(w, F32), rounded(w, BF16)
    with torch.no_grad():
        w.neg_()
        assert torch.equal(rounded(w, BF16), w.to(BF16)) and not torch.equal(a, w.to(F32))
        assert torch.equal(rounded(w, F32), w.to(F32))
    assert a.data_ptr() != b.data_ptr()


def test_every_kind_of_number_is_rounded_as_torch_does() -> None:
    """All upper halves of float32, with ties, what is beside them, subnormals, infinities and NaN."""
    high = torch.arange(1 << 16).unsqueeze(1) << 16
    bits = high + torch.tensor([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF])
    w = nn.Parameter(bits.to(torch.int32).view(F32))
    found, wanted = rounded(w, BF16).detach(), w.detach().to(BF16)
    number = ~wanted.isnan()
    assert torch.equal(found.isnan(), ~number)
    assert torch.equal(found[number].view(torch.int16), wanted[number].view(torch.int16))


def test_another_shape_gets_another_copy() -> None:
    """A copy of the old shape would take the new values by broadcasting."""
    w = parameter()
    rounded(w, BF16)
    for shape in ((1, 5), (7, 1), (2, 3), (11,)):
        w.data = torch.randn(shape)
        assert torch.equal(rounded(w, BF16), w.to(BF16))


@pytest.mark.parametrize(("own", "other"), PAIRS)
def test_gradients_are_those_of_a_conversion(own: torch.dtype, other: torch.dtype) -> None:
    mine, theirs = parameter(own), parameter(own)
    factor = torch.randn(7, 5).to(other)
    for step in range(2):  # the second backward adds to the first
        for w, convert in ((mine, rounded), (theirs, torch.Tensor.to)):
            x = convert(w, other)
            # Twice in one graph, as a tied matrix is.
            (x * factor * x).sum().backward()
            (convert(w, other) * factor).sum().backward()
            if step:
                in_place(w)
        assert mine.grad is not None and theirs.grad is not None and mine.grad.dtype == own
        assert torch.equal(mine.grad, theirs.grad)
    assert torch.equal(mine, theirs)


def test_a_gradient_is_asked_for_only_where_there_is_one() -> None:
    w = parameter()
    assert rounded(w, BF16).requires_grad and rounded(w, BF16).is_leaf is False
    with torch.no_grad():
        assert not rounded(w, BF16).requires_grad
    assert not rounded(parameter().requires_grad_(False), BF16).requires_grad
    assert not rounded(torch.ones(3), BF16).requires_grad


def test_asking_again_before_the_backward_changes_nothing() -> None:
    w, x = parameter(), torch.ones(7, 5, dtype=BF16, requires_grad=True)
    y = (rounded(w, BF16) * x).sum()
    with torch.no_grad():
        rounded(w, BF16)
    y.backward()
    assert x.grad is not None and torch.equal(x.grad, w.to(BF16))


def test_a_backward_through_weights_that_changed_is_an_error() -> None:
    """As it is for the weights themselves: never a silent gradient of the new ones."""
    w, x = parameter(), torch.ones(7, 5, dtype=BF16, requires_grad=True)
    y = (rounded(w, BF16) * x).sum()
    with torch.no_grad():
        w.mul_(2)
        rounded(w, BF16)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.backward()


def test_made_in_inference_mode_and_used_for_a_gradient() -> None:
    w, x = parameter(), torch.ones(7, 5, dtype=BF16, requires_grad=True)
    with torch.inference_mode():
        assert not rounded(w, BF16).is_inference()
    (rounded(w, BF16) * x).sum().backward()
    assert w.grad is not None and torch.equal(w.grad, torch.ones(7, 5))
    assert x.grad is not None and torch.equal(x.grad, w.to(BF16))


# --- models ---


def sample(model_or_llm: Transformer | LLM) -> list[RequestOutput]:
    llm = model_or_llm
    if isinstance(llm, Transformer):
        llm = LLM(llm, kv_cache_memory_bytes=1 << 24)
    params = [SamplingParams(max_tokens=9, seed=i, logprobs=0, ignore_eos=True) for i in range(len(PROMPTS))]
    return llm.generate(PROMPTS, params)


def sampled(outputs: Sequence[RequestOutput]) -> torch.Tensor:
    pairs = [
        pair for r in outputs for o in r.outputs for pair in zip(o.token_ids, o.logprobs or [], strict=True)
    ]
    return torch.tensor([entries[token].logprob for token, entries in pairs])


def trained(model: Transformer, outputs: Sequence[RequestOutput]) -> torch.Tensor:
    """What the trainer says of the same tokens."""
    whole = [r.prompt_token_ids + o.token_ids for r in outputs for o in r.outputs]
    starts = [len(r.prompt_token_ids) - 1 for r in outputs for _ in r.outputs]
    parts = [logprobs[n:] for logprobs, n in zip(token_logprobs(model, whole), starts, strict=True)]
    return torch.cat(parts)


def update(model: Transformer, outputs: Sequence[RequestOutput]) -> None:
    """An optimizer's step that makes what was sampled less likely."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.0)
    trained(model, outputs).mean().backward()
    optimizer.step()
    optimizer.zero_grad()


def is_fresh(model: Transformer) -> bool:
    with torch.no_grad():
        return all(torch.equal(rounded(w, BF16), w.to(BF16)) for w in model.parameters())


def test_recorded_steps_see_an_optimizers_step(tiny_llama: MakeModel) -> None:
    model = tiny_llama("bf16-master-fp32")
    llm = LLM(model, kv_cache_memory_bytes=1 << 24)
    made = llm._engine.decode_graphs._steps
    seen: list[tuple[torch.Tensor, dict[tuple[int, int], object]]] = []
    for _ in range(3):
        outputs = sample(llm)
        assert made and all(step.recording is not None for step in made.values())
        found = sampled(outputs)
        assert torch.equal(found, trained(model, outputs).detach())
        assert not any(torch.equal(found, earlier) for earlier, _ in seen)
        seen.append((found, dict(made)))
        update(model, outputs)
    # The same recordings, which were not made again.
    assert seen[0][1] == seen[1][1] == seen[2][1]
    # A model that holds these weights from the start says the same.
    other = tiny_llama("bf16-master-fp32")
    other.load_state_dict(model.state_dict())
    outputs = sample(llm)
    assert torch.equal(sampled(outputs), sampled(sample(other)))


def test_gradients_of_a_model_are_those_of_conversions(
    tiny_llama: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, theirs = tiny_llama("bf16-master-fp32"), tiny_llama("bf16-master-fp32")
    found = trained(mine, outputs := sample(mine))
    found.mean().backward()
    monkeypatch.setattr("minillm.model.transformer.rounded", torch.Tensor.to)
    wanted = trained(theirs, outputs)
    wanted.mean().backward()
    assert torch.equal(found, wanted)
    for (name, a), b in zip(mine.named_parameters(), theirs.parameters(), strict=True):
        assert a.grad is not None and b.grad is not None and a.grad.dtype == F32, name
        assert torch.equal(a.grad, b.grad), name


def test_a_copied_model_has_copies_of_its_own(tiny_llama: MakeModel) -> None:
    model = tiny_llama("bf16-master-fp32")
    outputs = sample(model)
    before = sampled(outputs)
    twin = copy.deepcopy(model)
    assert torch.equal(sampled(sample(twin)), before)
    with torch.no_grad():
        for a, b in zip(model.parameters(), twin.parameters(), strict=True):
            assert rounded(a, BF16).data_ptr() != rounded(b, BF16).data_ptr()
    llm, twins = LLM(model, kv_cache_memory_bytes=1 << 24), LLM(twin, kv_cache_memory_bytes=1 << 24)
    update(twin, outputs)
    assert is_fresh(model) and is_fresh(twin)
    assert torch.equal(sampled(sample(llm)), before)
    changed = sample(twins)
    assert torch.equal(sampled(changed), trained(twin, changed).detach())
    assert not torch.equal(sampled(changed), before)
    # The other way round; the twin's recordings are left alone.
    update(model, outputs)
    assert not torch.equal(sampled(sample(llm)), before)
    assert torch.equal(sampled(sample(twins)), sampled(changed))


def test_checkpoints_hold_no_copies(tiny_llama: MakeModel) -> None:
    model = tiny_llama("bf16-master-fp32")
    update(model, sample(model))
    state = model.state_dict()
    assert state.keys() == dict(model.named_parameters()).keys()
    assert {x.dtype for x in state.values()} == {F32} and not any(x.__dict__ for x in state.values())


def test_weights_that_are_loaded_into_a_live_model_are_seen(tiny_llama: MakeModel, tmp_path: Path) -> None:
    model, other = tiny_llama("bf16-master-fp32"), tiny_llama("bf16-master-fp32")
    update(other, sample(other))
    save_model(other, tmp_path / "other")
    llm = LLM(model, kv_cache_memory_bytes=1 << 24)
    before = sampled(sample(llm))
    load_weights(model, tmp_path / "other")
    assert is_fresh(model)
    found = sampled(sample(llm))
    assert torch.equal(found, sampled(sample(other))) and not torch.equal(found, before)


# --- writes past autograd's count ---


def data_in_place(model: Transformer) -> None:
    for p in model.parameters():
        p.data.mul_(1.0625)


def data_assigned(model: Transformer) -> None:
    for p in model.parameters():
        p.data = p.data * 1.0625


def one_number_by_numpy(model: Transformer) -> None:
    layer = model.layers[0]
    layer.get_parameter("qkv").detach().numpy()[0, 3, 5] += 3.0  # type: ignore[index]


def from_a_vector(model: Transformer) -> None:
    vector = nn.utils.parameters_to_vector(model.parameters())
    nn.utils.vector_to_parameters(vector * 1.0625, model.parameters())


def assigned_state(model: Transformer) -> None:
    state = {name: x.clone() * 1.0625 for name, x in model.state_dict().items()}
    model.load_state_dict(state, assign=True)


def by_address(model: Transformer) -> None:
    """As a kernel of another library writes, which torch knows nothing of."""
    for p in model.parameters():
        numbers = (ctypes.c_uint8 * (p.numel() * p.element_size())).from_address(p.data_ptr())
        changed = (p.detach() * 1.0625).contiguous().view(torch.uint8).numpy().tobytes()
        ctypes.memmove(numbers, changed, len(changed))


WRITES = [data_in_place, data_assigned, one_number_by_numpy, from_a_vector, assigned_state, by_address]


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("precision", ["fp32", "bf16-master-fp32"])
def test_a_write_is_seen_wherever_it_comes_from(
    tiny_llama: MakeModel, precision: str, write: Callable[[Transformer], None]
) -> None:
    model, params = tiny_llama(precision), SamplingParams(seed=1, max_tokens=6, logprobs=0)
    llm = LLM(model, kv_cache_memory_bytes=1 << 22)
    prompts = [[5, 17, 40] * 50, [9, 8]]
    tokens = [*prompts[0], 7, 3]

    def everything(llm: LLM) -> tuple[list[list[float]], torch.Tensor]:
        sampled = [output.outputs[0].token_logprobs for output in llm.generate(prompts, params)]
        return sampled, token_logprobs(llm.model, [tokens])[0].detach()

    before = everything(llm)
    for _ in range(2):  # the second write finds what the first has left
        write(model)
        fresh = tiny_llama(precision)
        with torch.no_grad():
            for p, source in zip(fresh.parameters(), model.parameters(), strict=True):
                p.copy_(source)
        after, right = everything(llm), everything(LLM(fresh, kv_cache_memory_bytes=1 << 22))
        assert after[0] == right[0] and torch.equal(after[1], right[1])
        assert after[0] != before[0] and not torch.equal(after[1], before[1])
        before = after


def test_weights_that_stay_are_not_found_to_change(tiny_llama: MakeModel) -> None:
    llm = LLM(tiny_llama("bf16-master-fp32"), kv_cache_memory_bytes=1 << 22)
    params = SamplingParams(seed=1, max_tokens=3)
    versions = [p._version for p in llm.model.parameters()]
    for _ in range(3):
        (output,) = llm.generate([[5, 17, 40] * 50], params)
    assert output.num_cached_tokens >= 128
    assert [p._version for p in llm.model.parameters()] == versions
    llm.weights_changed()
    (output,) = llm.generate([[5, 17, 40] * 50], params)
    assert output.num_cached_tokens == 0


def test_a_forward_goes_backward_after_another(tiny_llama: MakeModel) -> None:
    """Two forwards of the same masters, then both backwards: the copy is not written in between."""
    model = tiny_llama("bf16-master-fp32")
    first, second = (token_logprobs(model, [[1, 2, token]])[0].sum() for token in (3, 4))
    (first + second).backward()
    assert all(p.grad is not None for p in model.parameters())
