"""The two sides of `benchmarks.train_step`, each in a process of its own, and what is checked before.

Legend: T tokens, K inputs, N outputs, R rows.
"""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch.overrides import TorchFunctionMode

from benchmarks.generate import load_theirs
from benchmarks.load import resident
from kernels.ops.logprobs import ROWS
from kernels.ops.matmul import grouped_matmul, matmul
from minillm import LLM, MinillmError, SamplingParams, Transformer, load_model, token_logprobs
from minillm.checkpoint.keys import hf_shapes, to_hf
from minillm.checkpoint.read_config import read_config
from minillm.checkpoint.safetensors import save_tensors
from minillm.lora import LoRA
from minillm.model.config import Matrix, ModelConfig
from minillm.parity import compare

# Of both sides' adapters, on every matrix of a layer.
RANK, ALPHA = 8, 16
ATTENTION, MLP, EXPERTS = ("qkv", "o"), ("gate_up", "down"), ("experts_gate_up", "experts_down")
THEIR_TARGETS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
# A mixture of experts of 311 million parameters, 68 million of which a token meets.
MIXTURE = {
    "model_type": "qwen3_moe",
    "vocab_size": 49152,
    "hidden_size": 512,
    "intermediate_size": 1536,
    "moe_intermediate_size": 512,
    "num_experts": 32,
    "num_experts_per_tok": 4,
    "norm_topk_prob": True,
    "decoder_sparse_step": 1,
    "mlp_only_layers": [],
    "num_hidden_layers": 11,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "max_position_embeddings": 2048,
    "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"},
    "tie_word_embeddings": True,
}


@dataclass(frozen=True)
class Case:
    """What is trained: "fp32", "bf16-lora", "fp32-experts", ..."""

    name: str

    @property
    def precision(self) -> str:
        """fp32 or bf16."""
        return self.name.partition("-")[0]

    @property
    def lora(self) -> bool:
        """Whether the model is frozen, and adapters are trained."""
        return self.name.endswith("-lora")

    @property
    def experts(self) -> bool:
        """Whether the model is the random mixture of experts, not the demo model."""
        return self.name.endswith("-experts")


CASES = {f"{precision}{kind}": Case(f"{precision}{kind}") for kind in ("", "-lora", "-experts")
         for precision in ("fp32", "bf16")}  # fmt: skip


def write_mixture(folder: Path, config: dict[str, Any] = MIXTURE, seed: int = 0) -> Path:
    """Write config.json and random weights of a mixture of experts; returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    generator = torch.Generator().manual_seed(seed)
    tensors = {}
    for name, shape in hf_shapes(read_config(folder)).items():
        spread = 0.0 if "norm" in name else 0.04
        tensors[name] = torch.empty(shape).normal_(float("norm" in name), spread, generator=generator)
    save_tensors(folder, tensors)
    return folder


def draw(lengths: Sequence[int], vocabulary: int, seed: int) -> list[list[int]]:
    """Draw sequences of random tokens."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randint(vocabulary, (n,), generator=generator).tolist() for n in lengths]


def piece(folder: Path, layers: int, out: Path) -> Path:
    """Write the first layers of a model of safetensors, with its embedding and head; returns their folder."""
    settings = json.loads((folder / "config.json").read_text())
    whole = settings["num_hidden_layers"]
    cut = {
        key: value[:layers]
        for key, value in settings.items()
        if isinstance(value, list) and len(value) == whole
    }
    out.mkdir(parents=True, exist_ok=True)
    (out / "config.json").write_text(json.dumps({**settings, **cut, "num_hidden_layers": min(layers, whole)}))
    tensors: dict[str, torch.Tensor] = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors |= load_file(path)
    if not tensors:
        raise MinillmError(
            f"{folder} has no *.safetensors, of which gradients are checked; give another model"
        )
    numbers = {name: re.search(r"\blayers\.(\d+)\.", name) for name in tensors}
    save_tensors(
        out, {name: tensors[name] for name, found in numbers.items() if not found or int(found[1]) < layers}
    )
    return out


# ---------------------------------------------------------------- how much there is to compute


@dataclass(frozen=True)
class Operations:
    """Operations that the mathematics of a step asks for, two a multiply-add: no norm, nothing twice."""

    forward: float
    backward: float


def operations(config: ModelConfig, lengths: Sequence[int], lora: bool) -> Operations:
    """Count products, of the experts that a token meets, and the half of attention that is not masked.

    A backward has twice the products of its forward, or once where the matrices are frozen (their adapters
    are left out, some hundredth), and two and a half times its attention.
    """
    T, products = sum(lengths), 0.0
    for name, shape in config.shapes.items():
        if isinstance(shape, Matrix):
            rows = T - len(lengths) if name == "head" else T
            each = config.experts.chosen if shape.experts and config.experts is not None else 1
            products += 2.0 * rows * shape.K * shape.N * each
    H, _, D = config.heads
    attention = config.num_layers * 2.0 * sum(n * n for n in lengths) * H * D
    return Operations(products + attention, (1 if lora else 2) * products + 2.5 * attention)


# ---------------------------------------------------------------- the sides


def adapted(model: Transformer) -> LoRA:
    """Put adapters on every matrix of a model's layers."""
    own = {name.rpartition(".")[2] for name in model.config.shapes}
    return LoRA(model, RANK, ALPHA, [name for name in (*ATTENTION, *MLP, *EXPERTS) if name in own])


class Ours:
    """`token_logprobs` of all sequences, and `backward` of their sum."""

    ways = ("packed",)

    def __init__(self, folder: Path, case: Case, sequences: list[list[int]]) -> None:
        self.model, self.sequences = load_model(folder, case.precision), sequences
        self.trained: Any = adapted(self.model).parameters() if case.lora else list(self.model.parameters())

    def step(self, way: str) -> tuple[float, float]:
        """Seconds of forward and of backward."""
        begin = time.perf_counter()
        total = torch.cat(token_logprobs(self.model, self.sequences)).sum()
        middle = time.perf_counter()
        total.backward()
        end = time.perf_counter()
        return middle - begin, end - middle

    def products(self, rounds: int = 3) -> dict[str, float]:
        """Operations a second of the step's products by themselves: forward, backward, both."""
        config, T = self.model.config, sum(map(len, self.sequences))
        spent = dict.fromkeys(("forward", "backward"), 0.0)
        counted = 0.0
        for (K, N, experts, head), (count, w) in self._matrices().items():
            # Of the head, as many rows as have their logits at a time.
            chosen = config.experts.chosen if experts and config.experts is not None else 1
            R, calls = (ROWS, count * T / ROWS) if head else (T * chosen, count)
            x = torch.randn(R, K).to(w.dtype).requires_grad_()
            bounds = torch.arange(experts + 1) * R // experts if experts else None
            run = partial(matmul, x, w, N, wide=head)
            if bounds is not None:
                run = partial(grouped_matmul, x, w, N, bounds)
            found = min(forward_and_backward(run, [x, w]) for _ in range(rounds + 1))
            for name, seconds in zip(spent, found, strict=True):
                spent[name] += calls * seconds
            counted += calls * 2.0 * R * K * N
        rates = {"forward": counted / spent["forward"], "backward": 2 * counted / spent["backward"]}
        return {**rates, "all": 3 * counted / sum(spent.values())}

    def _matrices(self) -> dict[tuple[int, int, int, bool], tuple[int, torch.Tensor]]:
        """Find each shape of matrix: how many there are, and one of them, to be trained."""
        found: dict[tuple[int, int, int, bool], tuple[int, torch.Tensor]] = {}
        parameters = dict(self.model.named_parameters())
        for name, shape in self.model.config.shapes.items():
            if isinstance(shape, Matrix):
                key = (*shape, name == "head")
                count, w = found.get(key, (0, parameters[name].detach().requires_grad_()))
                found[key] = (count + 1, w)
        return found


def forward_and_backward(run: Callable[[], torch.Tensor], leaves: list[torch.Tensor]) -> tuple[float, float]:
    """Seconds of a function and of its gradients."""
    begin = time.perf_counter()
    out = run()
    middle = time.perf_counter()
    torch.autograd.grad(out, leaves, torch.ones_like(out))
    return middle - begin, time.perf_counter() - middle


class Theirs:
    """transformers' logits, torch's fused log_softmax and choice of tokens in float32, `backward`."""

    ways = ("one by one", "padded")

    def __init__(self, folder: Path, case: Case, sequences: list[list[int]]) -> None:
        self.model, self.sequences = load_theirs(folder, case.precision), sequences
        if case.lora:
            try:
                from peft import LoraConfig, get_peft_model
            except ImportError:
                raise MinillmError("LoRA needs PEFT beside transformers: pip install peft") from None
            adapter = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=THEIR_TARGETS)
            self.model = get_peft_model(self.model, adapter)
        self.trained = [p for p in self.model.parameters() if p.requires_grad]

    def step(self, way: str) -> tuple[float, float]:
        """Seconds of forward and of backward: of one batch with a mask, or of each sequence by itself."""
        batches = [self.sequences] if way == "padded" else [[sequence] for sequence in self.sequences]
        forward = backward = 0.0
        for batch in batches:
            begin = time.perf_counter()
            total = their_logprobs(self.model, batch)
            middle = time.perf_counter()
            total.backward()
            forward += middle - begin
            backward += time.perf_counter() - middle
        return forward, backward


def their_logprobs(model: Any, batch: list[list[int]], dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Sum the logprobs of all tokens but the first ones."""
    lengths = [len(sequence) for sequence in batch]
    tokens_BT = torch.zeros(len(batch), max(lengths), dtype=torch.int64)
    target_BT = torch.full_like(tokens_BT, -100)  # torch's sign of tokens that do not count
    for i, sequence in enumerate(batch):
        tokens_BT[i, : lengths[i]] = torch.tensor(sequence)
        target_BT[i, : lengths[i] - 1] = tokens_BT[i, 1 : lengths[i]]
    mask_BT = (torch.arange(max(lengths)) < torch.tensor(lengths).unsqueeze(1)).long()
    mask = None if len(set(lengths)) == 1 else mask_BT
    logits_BTV = model(tokens_BT, attention_mask=mask, use_cache=False).logits.to(dtype)
    return -F.cross_entropy(logits_BTV.flatten(0, 1), target_BT.flatten(), reduction="sum")


SIDES: dict[str, type[Ours] | type[Theirs]] = {"ours": Ours, "transformers": Theirs}
_side: Any = None
# Tokens of each sequence in a step that compiles and loads what there is to.
WARM_TOKENS = 80


@dataclass(frozen=True)
class Step:
    """Seconds of forward and of backward, and the most bytes that the whole process held."""

    forward: float
    backward: float
    peak: int = 0

    @property
    def seconds(self) -> float:
        """Of both."""
        return self.forward + self.backward


def begin(name: str, folder: Path, case: Case, sequences: list[list[int]]) -> None:
    """Load a side into this process, and take a short step in each of its ways."""
    global _side
    _side = SIDES[name](folder, case, [sequence[:WARM_TOKENS] for sequence in sequences])
    for way in _side.ways:
        step(way)
    _side.sequences = sequences


def step(way: str) -> Step:
    """Take a step in this process."""
    for parameter in _side.trained:
        parameter.grad = None
    Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts again from here
    return Step(*_side.step(way), resident("VmHWM"))


def products() -> dict[str, float]:
    """Measure our products by themselves."""
    found: dict[str, float] = _side.products()
    return found


def call(process: Executor, function: Callable[..., Any], *arguments: Any) -> Any:
    """Run a function in a side's process and wait for it."""
    return process.submit(function, *arguments).result()


# ---------------------------------------------------------------- checks


class InDouble(TorchFunctionMode):
    """float64 wherever transformers asks for float32, in norms, angles and routers."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        def wide(value: Any) -> Any:
            return torch.float64 if value is torch.float32 else value

        func = torch.Tensor.double if func is torch.Tensor.float else func
        return func(*map(wide, args), **{name: wide(value) for name, value in (kwargs or {}).items()})


def their_gradients(model: Any, sequences: list[list[int]], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Compute transformers' gradients of summed logprobs, one sequence after the other."""
    for sequence in sequences:
        their_logprobs(model, [sequence], dtype).backward()
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None}


@contextmanager
def as_theirs(model: Transformer, folder: Path) -> Iterator[dict[str, torch.Tensor]]:
    """Yield our gradients under transformers' names, read by transformers as if they were weights."""
    gradients = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in model.named_parameters()}
    with tempfile.TemporaryDirectory() as temporary:
        (Path(temporary) / "config.json").write_bytes((folder / "config.json").read_bytes())
        save_tensors(Path(temporary), to_hf(model.config, gradients))
        yield dict(load_theirs(Path(temporary), "fp32").named_parameters())


def errors(found: dict[str, torch.Tensor], exact: dict[str, torch.Tensor]) -> dict[str, float]:
    """Relative errors of each kind of parameter, over all layers: norm of the difference over the norm."""
    sums: dict[str, list[float]] = {}
    for name, gradient in exact.items():
        kind = sums.setdefault(re.sub(r"\.\d+\.", ".", name), [0.0, 0.0])
        gap = found[name].detach().double() - gradient.double()
        kind[0] += gap.square().sum().item()
        kind[1] += gradient.double().square().sum().item()
    return {name: (gap / whole) ** 0.5 if whole else gap**0.5 for name, (gap, whole) in sums.items()}


@dataclass(frozen=True)
class Checks:
    """What was checked of a case; `worst` is our error over transformers', for the kind where it is."""

    case: str
    tokens: int
    differing: int
    worst: float
    kind: str
    ours: dict[str, float]
    theirs: dict[str, float]

    @property
    def passed(self) -> bool:
        """Whether each bit is the sampler's, and each error at most twice transformers'; NaN fails."""
        return self.tokens > 0 and self.differing == 0 and self.worst <= 2

    def __str__(self) -> str:
        return (
            f"{self.case}: {self.differing} of {self.tokens} logprobs differ from the sampler's; "
            f"errors of gradients at most {self.worst:.2f} of transformers' ({self.kind}: "
            f"{self.ours[self.kind]:.1e}, {self.theirs[self.kind]:.1e})"
        )


def check(folder: Path, case: Case, lengths: Sequence[int], seed: int) -> Checks:
    """Compare logprobs with the sampler's, gradients with transformers' in float64, on short sequences.

    Both sides' gradients are of the same weights. With adapters, those of A and B are compared with our
    own in float64, by the error that our gradients of all weights may have.
    """
    model = load_model(folder, case.precision)
    sequences = draw(lengths, model.config.vocab_size, seed)
    outputs = LLM(model, kv_cache_memory_bytes=1 << 27).generate(
        sequences, SamplingParams(n=2, max_tokens=12, logprobs=0, ignore_eos=True, seed=seed), use_tqdm=False
    )
    parity = compare(model, outputs)
    exact_model = load_theirs(folder, case.precision).double()
    if case.experts:  # its grouped products have no float64
        exact_model.set_experts_implementation("eager")
    with InDouble():
        exact = their_gradients(exact_model, sequences, torch.float64)
    theirs = errors(their_gradients(load_theirs(folder, case.precision), sequences, torch.float32), exact)
    if case.lora:
        ours = adapter_errors(folder, case, sequences)
        allowed = dict.fromkeys(ours, max(theirs.values()))
    else:
        torch.cat(token_logprobs(model, sequences)).sum().backward()
        with as_theirs(model, folder) as gradients:
            ours, allowed = errors(gradients, exact), theirs
    ratios = {kind: ours[kind] / allowed[kind] for kind in ours}
    bad = [kind for kind, ratio in ratios.items() if not ratio <= 2]
    kind = bad[0] if bad else max(ratios, key=lambda kind: ratios[kind])
    return Checks(case.name, parity.tokens, parity.differing, ratios[kind], kind, ours, allowed)


def adapter_errors(folder: Path, case: Case, sequences: list[list[int]]) -> dict[str, float]:
    """Compute relative errors of the gradients of A and B against ours in float64, B drawn at random."""
    found = []
    for precision in (case.precision, "fp64"):
        model = load_model(folder, precision)
        if precision == "fp64":  # the same weights
            rounded = dict(load_model(folder, case.precision).named_parameters())
            with torch.no_grad():
                for name, p in model.named_parameters():
                    p.copy_(rounded[name])
        lora, generator = adapted(model), torch.Generator().manual_seed(1)
        with torch.no_grad():
            for adapter in lora.adapters.values():
                adapter.B_RN.normal_(0, 0.01, generator=generator)
        lora.merge()
        torch.cat(token_logprobs(model, sequences)).sum().backward()
        found.append(
            {
                f"{name}.{factor}": getattr(adapter, f"{factor}").grad
                for name, adapter in lora.adapters.items()
                for factor in ("A_KR", "B_RN")
            }
        )
    return errors(*found)
