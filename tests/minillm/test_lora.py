"""LoRA over live weights: gradients, parity, base and merged bits, PEFT's files, and what is refused."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import minillm.lora
from kernels.panels import pack, unpack
from minillm import LLM, MinillmError, Transformer, load_model, save_model, token_logprobs
from minillm.checkpoint.keys import hf_shapes, places, to_hf
from minillm.checkpoint.read_config import read_config
from minillm.checkpoint.safetensors import save_tensors
from minillm.lora import ADAPTER_NAME, CONFIG_NAME, PREFIX, Adapter, LoRA
from minillm.model.batch import Batch
from minillm.model.config import Matrix
from minillm.parity import compare

GOLDEN = Path(__file__).parents[1] / "golden"
script = runpy.run_path(str(GOLDEN / "write_families.py"))
parity = runpy.run_path(str(Path(__file__).with_name("test_parity.py")))
small_llm, sample, prompts_of = parity["small_llm"], parity["sample"], parity["prompts_of"]
is_parity, logprobs_of, equal = parity["is_parity"], parity["logprobs_of"], parity["equal"]

MakeModel = Callable[..., Transformer]
SEQUENCES = [script["sequence"](n) for n in (33, 1, 72)]
MOE = ("qkv", "o", "experts_gate_up", "experts_down")
DENSE = ("qkv", "o", "gate_up", "down")


def load_case(name: str, folder: Path, precision: str) -> Transformer:
    """A family's tiny random model."""
    config = json.loads((GOLDEN / "families.json").read_text())[name]["config"]
    (folder / "config.json").write_text(json.dumps(config))
    script["fill"](folder, hf_shapes(read_config(folder)))
    return load_model(folder, precision)


@pytest.fixture
def make_case(tiny_llama: MakeModel, tmp_path: Path) -> Callable[[str, str], tuple[Transformer, Any]]:
    """`make_case(name, precision)`: a model, dense or a mixture of experts, and targets of it."""

    def make(name: str, precision: str) -> tuple[Transformer, Any]:
        if name == "llama":
            return tiny_llama(precision), DENSE
        folder = tmp_path / f"{name}-{precision}"
        folder.mkdir()
        return load_case(name, folder, precision), MOE

    return make


def adapted(model: Transformer, targets: Any = DENSE, rank: int = 3, alpha: float = 5.0) -> LoRA:
    """A LoRA whose product is not zero."""
    lora = LoRA(model, rank, alpha, targets, seed=1)
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for adapter in lora.adapters.values():
            adapter.B_RN.copy_(0.2 * torch.randn(adapter.B_RN.shape, generator=generator))
    lora.merge()
    return lora


def bits_of(model: Transformer) -> dict[str, torch.Tensor]:
    """Every parameter's bits, so that -0 is not 0."""
    whole = {8: torch.int64, 4: torch.int32, 2: torch.int16}
    return {n: p.detach().clone().view(whole[p.itemsize]) for n, p in model.named_parameters()}


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


def adamw_step(model: Transformer, optimizer: torch.optim.Optimizer, sequences: Any) -> None:
    torch.cat(token_logprobs(model, sequences)).mean().backward()
    optimizer.step()
    optimizer.zero_grad()


# ---------------------------------------------------------------- gradients


class Score(nn.Module):
    """The mean logprob, for `functional_call`."""

    def __init__(self, model: Transformer) -> None:
        super().__init__()
        self.model = model

    def forward(self) -> torch.Tensor:
        return torch.cat(token_logprobs(self.model, SEQUENCES)).mean()


def explicit_gradients(lora: LoRA, model: Transformer) -> list[torch.Tensor]:
    """By autograd through base + scale * A @ B, all in the dtype of `model`, which has the base's weights."""
    dtype = model.head.dtype
    factors, merged = [], {}
    for name, w in model.named_parameters():
        if (adapter := lora.adapters.get(name)) is not None:
            A, B = (p.detach().to(dtype).requires_grad_() for p in (adapter.A_KR, adapter.B_RN))
            base = unpack(w.detach(), B.shape[-1])
            merged[f"model.{name}"] = pack(base + lora.alpha / lora.rank * (A @ B))
            factors += [A, B]
    score = torch.func.functional_call(Score(model), merged, ())
    return list(torch.autograd.grad(score, factors))


def distance(found: list[torch.Tensor], exact: list[torch.Tensor]) -> float:
    return sum(float((a.double() - b).square().sum()) for a, b in zip(found, exact, strict=True)) ** 0.5


def gradients_of(lora: LoRA) -> list[torch.Tensor]:
    grads = [p.grad for p in lora.parameters()]
    assert all(g is not None and g.dtype == torch.float32 for g in grads)
    return [g for g in grads if g is not None]


@pytest.mark.parametrize("name", ["llama", "qwen3_moe"])
def test_gradients_are_autograds_in_float64(name: str, make_case: Any) -> None:
    model, targets = make_case(name, "fp64")
    exact = explicit_gradients(lora := adapted(model, targets), make_base(model, lora))
    torch.cat(token_logprobs(model, SEQUENCES)).mean().backward()
    for found, wanted in zip(gradients_of(lora), exact, strict=True):
        assert float(wanted.abs().max()) > 0
        # Computed in float64 and rounded once to float32: half a unit in the last place.
        error = (found.double() - wanted).abs() - wanted.abs() * torch.finfo(torch.float32).eps / 2
        assert float(error.max()) <= 1e-12 * float(wanted.abs().max())


def make_base(model: Transformer, lora: LoRA) -> Transformer:
    """A second model with the base's weights."""
    second = Transformer(model.config, model.precision)
    with lora.off():
        second.load_state_dict(model.state_dict())
    return second


@pytest.mark.parametrize("name", ["llama", "qwen3_moe"])
def test_gradients_in_float32_are_as_exact_as_autograds(name: str, make_case: Any) -> None:
    (model, targets), (double, _) = make_case(name, "fp32"), make_case(name, "fp64")
    lora = adapted(model, targets)
    exact = explicit_gradients(lora, double)
    plain = distance(explicit_gradients(lora, make_base(model, lora)), exact)
    torch.cat(token_logprobs(model, SEQUENCES)).mean().backward()
    assert 0 < distance(gradients_of(lora), exact) <= 2 * plain


def test_gradients_add_up_and_full_ones_are_freed(tiny_llama: MakeModel) -> None:
    model = tiny_llama("fp32")
    alive = []

    def count(_: torch.Tensor) -> None:
        alive.append(sum(p.grad is not None for p in model.parameters()))

    for p in model.parameters():  # before the hooks of LoRA, so that the gradient is there
        p.register_post_accumulate_grad_hook(count)
    lora = adapted(model)
    torch.cat(token_logprobs(model, SEQUENCES)).mean().backward()
    once = [g.clone() for g in gradients_of(lora)]
    torch.cat(token_logprobs(model, SEQUENCES)).mean().backward()
    assert equal(gradients_of(lora), [2 * g for g in once])
    assert alive == [1] * (2 * len(lora.adapters))
    assert all(p.grad is None for p in model.parameters())


# ---------------------------------------------------------------- parity


@pytest.mark.parametrize("precision", ["fp32", "bf16", "bf16-master-fp32"])
@pytest.mark.parametrize("name", ["llama", "qwen3_moe"])
def test_sampler_and_trainer_agree_before_and_after_a_step(name: str, precision: str, make_case: Any) -> None:
    model, targets = make_case(name, precision)
    lora = LoRA(model, targets=targets)
    optimizer = torch.optim.AdamW(lora.parameters(), lr=0.02, weight_decay=0.0)
    lora.attach(optimizer)
    llm: LLM = small_llm(model)
    prompts = [prompt[:100] for prompt in prompts_of(5, model.config.vocab_size)]
    before = sample(llm, prompts)
    warm = sample(llm, prompts)
    assert [output.num_cached_tokens for output in warm] == [len(prompt) - 1 for prompt in prompts]
    assert is_parity(model, warm, 1.0) and equal(logprobs_of(warm), logprobs_of(before))
    # Nobody resets the prefix cache here: the merge alone must make it forget.
    adamw_step(model, optimizer, [r.prompt_token_ids + r.outputs[0].token_ids for r in warm])
    for _ in range(2):
        after = sample(llm, prompts)
        assert is_parity(model, after, 1.0)
        found = compare(model, after)
        assert found.tokens == 60 and found.differing == found.bits == 0
        assert not equal(logprobs_of(after), logprobs_of(before))
    assert [output.num_cached_tokens for output in after] == [len(prompt) - 1 for prompt in prompts]


# ---------------------------------------------------------------- bits of the weights


@pytest.mark.parametrize("precision", ["fp64", "fp32", "bf16"])
def test_at_first_the_model_is_the_base(tiny_llama: MakeModel, precision: str) -> None:
    model = tiny_llama(precision)
    before = bits_of(model)
    lora = LoRA(model)
    assert same(bits_of(model), before)
    lora.merge()
    assert same(bits_of(model), before)
    for name, adapter in lora.adapters.items():
        shape = model.config.shapes[name]
        assert isinstance(shape, Matrix)
        assert adapter.A_KR.shape == (shape.K, 8) and adapter.B_RN.shape == (8, shape.N)
        bound = shape.K**-0.5
        assert 0.9 * bound < float(adapter.A_KR.detach().abs().max()) <= bound
        assert not adapter.B_RN.any()
    assert len(lora.parameters()) == 2 * len(lora.adapters) == 16
    again, other = LoRA(tiny_llama(precision)), LoRA(tiny_llama(precision), seed=1)
    assert equal(lora.parameters(), again.parameters())
    assert not equal(lora.parameters(), other.parameters())


@pytest.mark.parametrize("name", ["llama", "qwen3_moe"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_merged_weights_are_the_rounded_sum_and_nothing_else_moves(
    name: str, precision: str, make_case: Any
) -> None:
    model, targets = make_case(name, precision)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    lora = adapted(model, targets)
    optimizer = torch.optim.AdamW(lora.parameters(), lr=1e-2)
    lora.attach(optimizer)
    adamw_step(model, optimizer, SEQUENCES)
    for n, p in model.named_parameters():
        assert p.requires_grad == (n in lora.adapters)
        if n not in lora.adapters:
            assert torch.equal(p, before[n]) and p.grad is None
            continue
        adapter, shape = lora.adapters[n], model.config.shapes[n]
        assert isinstance(shape, Matrix) and not torch.equal(p, before[n])
        exact = unpack(before[n], shape.N).double() + 5 / 3 * (adapter.A_KR.double() @ adapter.B_RN.double())
        sizes = unpack(before[n], shape.N).abs().double() + adapter.A_KR.abs() @ adapter.B_RN.abs() * 5 / 3
        error = (unpack(p, shape.N).double() - exact).abs()
        # Each term is rounded at most rank + 3 times in float32, and the sum once to the weights' dtype.
        unit = 6 * torch.finfo(torch.float32).eps / 2 * sizes + torch.finfo(p.dtype).eps / 2 * exact.abs()
        assert bool((error <= unit).all())
        assert torch.equal(pack(unpack(p, shape.N)), p)  # zeros past N


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_off_is_the_base_and_on_again_the_same_bits(tiny_llama: MakeModel, precision: str) -> None:
    model = tiny_llama(precision)
    base, reference = bits_of(model), token_logprobs(model, SEQUENCES)
    lora = adapted(model)
    merged, policy = bits_of(model), token_logprobs(model, SEQUENCES)
    assert not same(base, merged) and not equal(reference, policy)
    with lora.off():
        assert same(bits_of(model), base)
        with lora.off():
            found = token_logprobs(model, SEQUENCES)
        assert same(bits_of(model), base)
        assert equal(found, reference) and not any(x.requires_grad for x in found)
    assert same(bits_of(model), merged) and equal(token_logprobs(model, SEQUENCES), policy)
    with pytest.raises(KeyError, match="mine"), lora.off():
        raise KeyError("mine")
    assert same(bits_of(model), merged)
    torch.cat(token_logprobs(model, SEQUENCES)).mean().backward()
    assert all(float(g.abs().max()) > 0 for g in gradients_of(lora))
    lora.merge()
    assert same(bits_of(model), merged)


def test_no_memory_for_the_base_leaves_the_merged_bits(
    tiny_llama: MakeModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_llama("fp32")
    lora = adapted(model)
    merged, swap, calls = bits_of(model), Adapter.swap, []

    def fail_once(adapter: Adapter) -> None:
        calls.append(adapter)
        if len(calls) == 4:
            raise MemoryError
        swap(adapter)

    monkeypatch.setattr(Adapter, "swap", fail_once)
    with pytest.raises(MemoryError), lora.off():
        pass
    assert len(calls) == 4 + 3 and same(bits_of(model), merged)
    with lora.off():
        assert not same(bits_of(model), merged)
    assert same(bits_of(model), merged)


def test_a_forward_before_off_cannot_go_backward_after_it(tiny_llama: MakeModel) -> None:
    """It would take the gradient at other weights: autograd sees the versions and refuses."""
    model = tiny_llama("fp32")
    lora = adapted(model)
    loss = torch.cat(token_logprobs(model, SEQUENCES)).mean()
    with lora.off():
        pass
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("merge", [False, True])
def test_remove_leaves_weights_and_gradients_as_they_should_be(tiny_llama: MakeModel, merge: bool) -> None:
    model = tiny_llama("fp32")
    model.head.requires_grad_(False)
    asked = {n: p.requires_grad for n, p in model.named_parameters()}
    base = bits_of(model)
    lora = adapted(model)
    optimizer = torch.optim.AdamW(lora.parameters(), lr=1e-2)
    lora.attach(optimizer)
    merged = bits_of(model)
    lora.remove(merge=merge)
    assert same(bits_of(model), merged if merge else base)
    assert {n: p.requires_grad for n, p in model.named_parameters()} == asked
    torch.cat(token_logprobs(model, SEQUENCES)).mean().backward()
    assert all((p.grad is not None) == p.requires_grad for p in model.parameters())
    optimizer.step()  # merges no more
    assert same(bits_of(model), merged if merge else base)
    for what in (lora.merge, lambda: lora.attach(optimizer), lambda: lora.remove(True), lora.off().__enter__):
        with pytest.raises(MinillmError, match="was removed"):
            what()
    LoRA(model)


def test_a_merged_model_is_saved_as_any(tiny_llama: MakeModel, tmp_path: Path) -> None:
    model = tiny_llama("fp32")
    adapted(model)
    save_model(model, tmp_path)
    assert same(bits_of(load_model(tmp_path, "fp32")), bits_of(model))


# ---------------------------------------------------------------- files


def by_hand(
    weights: dict[str, torch.Tensor], folder: Path, of: Callable[[torch.Tensor], torch.Tensor] = torch.clone
) -> dict[str, torch.Tensor]:
    """W + scale * B @ A, as PEFT has it, of tensors by Hugging Face's names, in their dtype."""
    settings = json.loads((folder / CONFIG_NAME).read_text())
    result = {n: of(w) for n, w in weights.items()}
    tensors = {n: of(t) for n, t in load_file(folder / ADAPTER_NAME).items()}
    for name, A_RK in tensors.items():
        if name.endswith(".lora_A.weight"):
            module = name.removeprefix(PREFIX).removesuffix(".lora_A.weight")
            w = result[f"{module}.weight"]
            change = tensors[f"{PREFIX}{module}.lora_B.weight"].to(w.dtype) @ A_RK.to(w.dtype)
            change = change.t() if settings["fan_in_fan_out"] else change
            result[f"{module}.weight"] = w + settings["lora_alpha"] / settings["r"] * change
    assert len(tensors) == 2 * sum(not torch.equal(result[n], of(weights[n])) for n in weights)
    return result


@pytest.mark.parametrize("name", tuple(script["CASES"]))
def test_every_familys_adapter_applied_by_hand(name: str, tmp_path: Path) -> None:
    """All of its matrices at once: names, cuts, orders of outputs, and the files back again."""
    model = load_case(name, tmp_path, "fp32")
    whole = any(place.stacked for place in places(model.config).values())  # PEFT has no modules for those
    targets = {
        n.rpartition(".")[2]: None
        for n, shape in model.config.shapes.items()
        if n.startswith("layers.") and isinstance(shape, Matrix) and not (whole and shape.experts)
    }
    base = to_hf(model.config, dict(model.named_parameters()))
    lora = adapted(model, tuple(targets))
    folder = tmp_path / "adapter"
    lora.save(folder)
    merged = to_hf(model.config, dict(model.named_parameters()))
    expected, sizes = by_hand(base, folder), by_hand(base, folder, torch.abs)
    for tensor, wanted in expected.items():
        # On either side each term is rounded at most rank + 3 times.
        unit = 2 * 6 * torch.finfo(torch.float32).eps / 2 * sizes[tensor]
        assert bool(((merged[tensor] - wanted).abs() <= unit).all()), tensor
    # PEFT takes every module that is called, or ends, so.
    ends = json.loads((folder / CONFIG_NAME).read_text())["target_modules"]
    modules = {n.removesuffix(".weight") for n in base}
    saved = {n.removeprefix(PREFIX).rpartition(".lora_")[0] for n in load_file(folder / ADAPTER_NAME)}
    assert {m for m in modules if any(m.endswith(f".{end}") for end in ends)} == saved

    bits, factors = bits_of(model), [p.detach().clone() for p in lora.parameters()]
    lora.remove(merge=False)
    again = LoRA(model, 3, 5.0, tuple(targets), seed=9)
    again.load(folder)
    assert equal(again.parameters(), factors) and same(bits_of(model), bits)


@pytest.mark.parametrize("name", ["llama", "qwen3_moe"])
def test_transformers_with_the_adapter_agrees(name: str, make_case: Any, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    model, targets = make_case(name, "fp32")
    save_model(model, tmp_path / "base")
    lora = adapted(model, targets)
    lora.save(tmp_path / "adapter")
    stored = load_file(tmp_path / "base" / "model.safetensors")
    ids = script["sequence"](72)

    def theirs(dtype: torch.dtype) -> torch.Tensor:
        folder = tmp_path / str(dtype)
        save_tensors(folder, by_hand({n: w.to(dtype) for n, w in stored.items()}, tmp_path / "adapter"))
        (folder / "config.json").write_text((tmp_path / "base" / "config.json").read_text())
        load = transformers.AutoModelForCausalLM.from_pretrained
        with script["InDouble"]() if dtype == torch.float64 else nullcontext(), torch.no_grad():
            hf = load(folder, dtype=dtype, experts_implementation="eager")
            return hf.eval()(torch.tensor([ids])).logits[0]  # type: ignore[no-any-return]

    exact = theirs(torch.float64)
    with torch.no_grad():
        ours = model.logits(model(torch.tensor(ids), Batch.packed([len(ids)])))
    assert exact.dtype == torch.float64
    error = float((theirs(torch.float32) - exact).abs().max())
    assert 0 < float((ours - exact).abs().max()) <= 2 * error
    with lora.off(), torch.no_grad():
        plain = model.logits(model(torch.tensor(ids), Batch.packed([len(ids)])))
    assert float((plain - exact).abs().max()) > 1e3 * error


def test_names_and_shapes_are_pefts(tiny_llama: MakeModel, tmp_path: Path) -> None:
    lora = LoRA(tiny_llama("bf16"), rank=1, alpha=3.0)
    lora.save(tmp_path)
    tensors = load_file(tmp_path / ADAPTER_NAME)
    layer = "base_model.model.model.layers.1."
    widths = {"self_attn.q_proj": 96, "self_attn.k_proj": 32, "self_attn.v_proj": 32, "self_attn.o_proj": 48}
    widths |= {"mlp.gate_proj": 53, "mlp.up_proj": 53, "mlp.down_proj": 48}
    inputs = {"self_attn.o_proj": 96, "mlp.down_proj": 53}
    for module, width in widths.items():
        A, B = (tensors[f"{layer}{module}.lora_{x}.weight"] for x in "AB")
        assert A.shape == (1, inputs.get(module, 48)) and B.shape == (width, 1)
        assert A.dtype == B.dtype == torch.float32
    assert len(tensors) == 2 * 2 * len(widths)
    settings = json.loads((tmp_path / CONFIG_NAME).read_text())
    assert settings["target_modules"] == sorted(widths)
    assert (settings["peft_type"], settings["r"], settings["lora_alpha"]) == ("LORA", 1, 3.0)
    assert settings["fan_in_fan_out"] is False


def test_a_failed_save_leaves_the_old_adapter(
    tiny_llama: MakeModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lora = adapted(tiny_llama("fp32"))
    lora.save(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def full(*_: Any, **__: Any) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(minillm.lora, "save_file", full)
    with pytest.raises(MinillmError, match=r"cannot write .*no space left"):
        lora.save(tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize("name", ["granitemoe", "gpt_oss"])
def test_experts_in_one_tensor_have_no_files(name: str, tmp_path: Path) -> None:
    lora = LoRA(load_case(name, tmp_path, "fp32"), targets=("qkv", "experts_down"))
    for what in (lora.save, lora.load):
        with pytest.raises(MinillmError, match=r"experts_down: .* one tensor.* save_model"):
            what(tmp_path)
    assert not (tmp_path / ADAPTER_NAME).exists()


Q = f"{PREFIX}model.layers.0.self_attn.q_proj.lora_"
TENSOR_FAULTS: dict[str, tuple[Callable[[dict[str, torch.Tensor]], Any], str]] = {
    "missing": (lambda t: t.pop(f"{Q}B.weight"), r"lacks tensors of this LoRA.*q_proj\.lora_B"),
    "extra": (lambda t: t.update(lm_head=torch.zeros(3)), r"has tensors that .* has not: lm_head"),
    "shape": (
        lambda t: t.update({f"{Q}B.weight": torch.zeros(97, 3)}),
        r"do not fit .*q_proj\.lora_B.*\[97, 3\]; expected \[96, 3\]",
    ),
    "dtype": (
        lambda t: t.update({f"{Q}A.weight": t[f"{Q}A.weight"].to(torch.int8)}),
        r"do not fit .*q_proj\.lora_A.weight \(I8",
    ),
    "another A": (
        lambda t: t[f"{Q}A.weight"].add_(1),
        r"q_proj and model\.layers\.0\.self_attn\.k_proj have a lora_A each, but are one matrix .*merge_and",
    ),
}
CONFIG_FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "rank": ({"r": 4}, r"rank 4 and alpha 5, this LoRA 3 and 5; make it as LoRA\(model, rank=4, alpha=5\)"),
    "alpha": ({"lora_alpha": 6}, r"rank 3 and alpha 6, this LoRA 3 and 5"),
    "rslora": ({"use_rslora": True}, r"use_rslora is True.*merge_and_unload"),
    "dora": ({"use_dora": True}, r"use_dora is True"),
    "pattern": ({"alpha_pattern": {"q_proj": 3}}, r"alpha_pattern is"),
    "type": ({"peft_type": "IA3"}, r"peft_type is 'IA3'"),
    "no rank": ({"r": None}, r"adapter_config\.json is not the config of an adapter"),
}


@pytest.mark.parametrize("fault", [*TENSOR_FAULTS, *CONFIG_FAULTS, "truncated", "no config", "no tensors"])
def test_load_refuses(fault: str, tiny_llama: MakeModel, tmp_path: Path) -> None:
    adapted(tiny_llama("fp32")).save(tmp_path)
    config, tensors = tmp_path / CONFIG_NAME, tmp_path / ADAPTER_NAME
    match = "truncated or not a safetensors file"
    if fault in TENSOR_FAULTS:
        change, match = TENSOR_FAULTS[fault]
        held = load_file(tensors)
        change(held)
        save_file(held, tensors)
    elif fault in CONFIG_FAULTS:
        changes, match = CONFIG_FAULTS[fault]
        config.write_text(json.dumps({**json.loads(config.read_text()), **changes}))
    elif fault == "truncated":
        tensors.write_bytes(tensors.read_bytes()[:-10])
    elif fault == "no tensors":
        tensors.unlink()
    else:
        config.unlink()
        match = "not the config of an adapter"
    model = tiny_llama("fp32")
    lora = LoRA(model, 3, 5.0, seed=4)
    before, factors = bits_of(model), [p.detach().clone() for p in lora.parameters()]
    with pytest.raises(MinillmError, match=match):
        lora.load(tmp_path)
    assert same(bits_of(model), before) and equal(lora.parameters(), factors)


def test_load_takes_what_peft_writes_beside(tiny_llama: MakeModel, tmp_path: Path) -> None:
    """Factors in bfloat16, keys that change nothing, and those of our list left out or null."""
    lora = adapted(tiny_llama("fp32"))
    lora.save(tmp_path)
    half = {n: t.bfloat16() for n, t in load_file(tmp_path / ADAPTER_NAME).items()}
    save_file(half, tmp_path / ADAPTER_NAME)
    settings = json.loads((tmp_path / CONFIG_NAME).read_text())
    del settings["use_dora"]
    settings |= {"alpha_pattern": None, "lora_alpha": 5, "lora_dropout": 0.1, "revision": None}
    (tmp_path / CONFIG_NAME).write_text(json.dumps(settings))
    again = LoRA(tiny_llama("fp32"), 3, 5.0)
    again.load(tmp_path)
    assert equal(again.parameters(), [p.bfloat16().float() for p in lora.parameters()])


# ---------------------------------------------------------------- errors


def test_errors_name_the_culprit(tiny_llama: MakeModel, tmp_path: Path) -> None:
    model = tiny_llama("fp32")
    asked = [p.requires_grad for p in model.parameters()]
    with pytest.raises(MinillmError, match="rank must be at least 1, got 0"):
        LoRA(model, rank=0)
    there = "this llama model has qkv, o, gate_up, down$"
    with pytest.raises(MinillmError, match=f"unknown LoRA targets: q_proj, v_proj; {there}"):
        LoRA(model, targets=("q_proj", "o", "v_proj"))
    with pytest.raises(MinillmError, match=f"unknown LoRA targets: none; {there}"):
        LoRA(model, targets=())
    assert [p.requires_grad for p in model.parameters()] == asked
    lora = LoRA(model)
    with pytest.raises(MinillmError, match=r"has a LoRA already.* remove\(\)"):
        LoRA(model)
    with lora.off():
        lora.save(tmp_path)
        calls = (lora.merge, lambda: lora.load(tmp_path), lambda: lora.remove(True))
        for what in calls:
            with pytest.raises(MinillmError, match=r"inside of off\(\)"):
                what()
    with pytest.raises(MinillmError, match=r"weights of 8 bits .* load the model in fp32 or bf16"):
        LoRA(tiny_llama("int8"))
