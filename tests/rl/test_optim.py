"""AdamW in bfloat16: the kernel against the formula, rounding that is right on average, and what it reaches.

Legend: N weights.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch

from kernels import reference
from kernels.cpu import ops as cpu_ops
from kernels.ops.adamw import adamw
from minillm import MinillmError, Transformer, token_logprobs
from rl.optim import BF16AdamW, bytes_per_parameter, make_optimizer

MakeModel = Callable[..., Transformer]
OPTIONS: dict[str, Any] = {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.1}
Tensors = tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None]


def tensors(N: int, carried: bool, scale: float = 0.02) -> Tensors:
    generator = torch.Generator().manual_seed(N)
    w, grad = ((torch.randn(N, generator=generator) * s).bfloat16() for s in (scale, 1e-3))
    carry = torch.zeros(N, dtype=torch.int8) if carried else None
    return w, grad, torch.zeros_like(w), torch.zeros_like(w), carry


def patterns(found: Tensors) -> list[torch.Tensor]:
    """Bits, so that NaN equals itself."""
    return [x if x.dtype == torch.int8 else x.view(torch.int16) for x in found if x is not None]


# Around a block of the kernel (512), a vector (8) and a task (32768).
@pytest.mark.parametrize("N", [1, 7, 511, 513, 70_001])
@pytest.mark.parametrize("carried", [False, True])
def test_the_kernel_has_the_bits_of_the_formula(
    N: int, carried: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, plain = tensors(N, carried), tensors(N, carried)
    for one in (mine, plain):
        one[0][0], one[1][-1] = 0.0, 0.0
    for step in (1, 2, 3, 50):
        options = {**OPTIONS, "step": step, "lr": 10.0 ** -(2 + step % 5), "keys": [2**32 - step]}
        adamw([mine], **options)
        with monkeypatch.context() as patch:
            patch.setattr(cpu_ops, "adamw", reference.adamw)
            adamw([plain], **options)
        assert all(torch.equal(a, b) for a, b in zip(patterns(mine), patterns(plain), strict=True)), step


@pytest.mark.parametrize("carried", [False, True])
def test_threads_change_no_bit_and_a_key_does(carried: bool) -> None:
    options = {**OPTIONS, "step": 1, "lr": 1e-4}
    threads, found = torch.get_num_threads(), []
    try:
        for count, key in ((1, 5), (2, 5), (2, 6)):
            torch.set_num_threads(count)
            found.append(tensors(200_000, carried))
            adamw([found[-1]], **options, keys=[key])
    finally:
        torch.set_num_threads(threads)
    one, two, other = map(patterns, found)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))
    assert not torch.equal(one[-1], other[-1])


@pytest.mark.parametrize("carried", [False, True])
def test_many_weights_in_one_launch_are_each_by_itself(carried: bool) -> None:
    sizes, options = (1, 40_000, 7, 100_003, 512, 32_768), {**OPTIONS, "step": 3, "lr": 1e-4}
    together = [tensors(N, carried) for N in sizes]
    adamw(together, **options, keys=[11 * N for N in sizes])
    for N, found in zip(sizes, together, strict=True):
        alone = tensors(N, carried)
        adamw([alone], **options, keys=[11 * N])
        assert all(torch.equal(a, b) for a, b in zip(patterns(found), patterns(alone), strict=True)), N


@pytest.mark.parametrize("carried", [False, True])
def test_the_noise_is_right_on_average(carried: bool) -> None:
    """Steps of a thousandth of the distance between neighbours, of weights that are all alike."""
    N, steps, lr = 20_000, 100, 2.0**-20
    w = torch.full((N,), 0.5, dtype=torch.bfloat16)
    grad, m, v = torch.full_like(w, 2.0**-10), torch.zeros_like(w), torch.zeros_like(w)
    carry = torch.zeros(N, dtype=torch.int8) if carried else None
    for step in range(1, steps + 1):
        options = {**OPTIONS, "weight_decay": 0.0, "step": step, "lr": lr, "keys": [7919 * step]}
        adamw([(w, grad, m, v, carry)], **options)
    low = 0 if carry is None else carry.double() * 2.0**-17  # below 0.5 bfloat16s are 2^-9 apart, above 2^-8
    moved = (0.5 - w.double() - low).mean().item()
    # The moments' own noise averages out over weights too; one weight's step is one of 2^-9 now and then.
    deviation = (2.0**-9 * steps * lr) ** 0.5 / N**0.5
    assert moved == pytest.approx(steps * lr, abs=5 * deviation)
    assert m.double().mean().item() == pytest.approx(2.0**-10 * (1 - 0.9**steps), rel=1e-3)
    assert v.double().mean().item() == pytest.approx(2.0**-20 * (1 - 0.999**steps), rel=1e-2)
    # To the nearest, none of it would have happened.
    p = torch.nn.Parameter(torch.full((8,), 0.5, dtype=torch.bfloat16))
    p.grad = torch.full_like(p, 2.0**-10)
    nearest = torch.optim.AdamW([p], lr=lr, weight_decay=0.0)
    for _ in range(steps):
        nearest.step()
    assert bool((p == 0.5).all())


def test_what_is_not_finite_is_not_hidden() -> None:
    w, grad, m, v, _ = tensors(64, False)
    grad[3], grad[40] = torch.nan, torch.inf
    adamw([(w, grad, m, v, None)], **OPTIONS, step=1, lr=1e-3, keys=[1])
    assert w[[3, 40]].isnan().all()
    assert w.isfinite().sum() == 62


def loss_of(model: Transformer, ids: list[list[int]]) -> torch.Tensor:
    return -torch.cat(token_logprobs(model, ids)).mean()


@pytest.mark.parametrize("rounding", ["stochastic", "kahan"])
def test_a_run_goes_on_after_its_state_is_loaded(tiny_llama: MakeModel, rounding: str) -> None:
    ids = [[i * 7 % 131 for i in range(20)], [i * 11 % 131 for i in range(33)]]
    model = tiny_llama("bf16")
    optimizer = BF16AdamW(model.parameters(), lr=1e-3, rounding=rounding, seed=3)

    def steps(model: Transformer, optimizer: torch.optim.Optimizer) -> None:
        for _ in range(3):
            optimizer.zero_grad()
            loss_of(model, ids).backward()
            optimizer.step()

    steps(model, optimizer)
    later = copy.deepcopy(model)
    resumed = BF16AdamW(later.parameters(), lr=1.0)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    steps(model, optimizer)
    steps(later, resumed)
    for left, right in zip(model.parameters(), later.parameters(), strict=True):
        assert torch.equal(left, right)
    for left_state, right_state in zip(optimizer.state.values(), resumed.state.values(), strict=True):
        assert left_state.keys() == right_state.keys()
        for name, value in left_state.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(right_state[name])), name
            assert not isinstance(value, torch.Tensor) or value.dtype == right_state[name].dtype


def test_bytes_of_each_way(tiny_llama: MakeModel) -> None:
    ids, totals = [[1, 2, 3, 4]], {}
    for precision, rounding in (("bf16-master-fp32", ""), ("bf16", "stochastic"), ("bf16", "kahan")):
        model = tiny_llama(precision)
        optimizer = make_optimizer(model, 1e-4, rounding=rounding or "kahan")
        loss_of(model, ids).backward()
        optimizer.step()
        optimizer.zero_grad()
        totals[rounding] = bytes_per_parameter(model, optimizer)["total"]
    # A step counter or two a tensor is all that comes on top.
    assert totals[""] == pytest.approx(18, abs=0.1)
    assert totals["stochastic"] == 8
    assert totals["kahan"] == 9
    assert max(totals["stochastic"], totals["kahan"]) <= 0.55 * totals[""]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0.0}, "lr must be above 0, got 0.0"),
        ({"betas": (0.9, 1.0)}, "betas must be two numbers"),
        ({"eps": 0.0}, "eps must be above 0"),
        ({"weight_decay": -1.0}, "weight_decay must be not negative"),
        ({"rounding": "nearest"}, "rounding must be one of stochastic, kahan, got 'nearest'"),
    ],
)
def test_options_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(MinillmError, match=message):
        BF16AdamW([torch.nn.Parameter(torch.zeros(3, dtype=torch.bfloat16))], **options)


def test_weights_of_another_dtype_are_refused(tiny_llama: MakeModel) -> None:
    with pytest.raises(MinillmError, match=r"weight 0 is of torch.float32; load the model in bf16"):
        BF16AdamW(tiny_llama("fp32").parameters())
    with pytest.raises(MinillmError, match="weights of 8 bits are for sampling"):
        make_optimizer(tiny_llama("int8"), 1e-3)
    with pytest.raises(ValueError, match=r"grad must be of torch\.bfloat16"):
        w = torch.zeros(4, dtype=torch.bfloat16)
        adamw([(w, w.float(), w.clone(), w.clone(), None)], **OPTIONS, step=1, lr=1.0, keys=[0])


# A fixed small task: as many steps as move the loss well below what it was.
TASK = [[(i * i + 3 * j) % 131 for i in range(24)] for j in range(6)]
STEPS = 40
# The largest weights' neighbours are a hundred such steps away.
RATE = 5e-5
SEEDS = range(5)


def final_loss(
    make: MakeModel, precision: str, seed: int, optimizer_of: Callable[[Transformer], torch.optim.Optimizer]
) -> float:
    model = make(precision)
    with torch.no_grad():
        for p in model.parameters():  # all start from the same weights
            p.copy_(p.bfloat16())
    optimizer = optimizer_of(model)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(STEPS):
        chosen = torch.randperm(len(TASK), generator=generator)[:3].tolist()
        optimizer.zero_grad()
        loss_of(model, [TASK[i] for i in chosen]).backward()
        optimizer.step()
    with torch.no_grad():
        return loss_of(model, TASK).item()


def test_it_reaches_what_float32_masters_reach(tiny_llama: MakeModel) -> None:
    """Five seeds; rounded to the nearest, weights stay behind."""
    start = loss_of(tiny_llama("bf16"), TASK).item()
    for seed in SEEDS:
        masters = final_loss(tiny_llama, "bf16-master-fp32", seed, lambda m: make_optimizer(m, RATE))
        assert masters < 0.95 * start
        for rounding in ("stochastic", "kahan"):
            mine = final_loss(
                tiny_llama, "bf16", seed, partial(make_optimizer, lr=RATE, rounding=rounding, seed=seed)
            )
            assert abs(mine - masters) <= 0.01 * masters, (seed, rounding, mine, masters)
        plain = final_loss(
            tiny_llama, "bf16", seed, lambda m: torch.optim.AdamW(m.parameters(), RATE, weight_decay=0.0)
        )
        assert start - plain < 0.8 * (start - masters), (seed, plain, masters)
