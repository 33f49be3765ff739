"""Every family against transformers in float64: logits, cached logits, gradients, export."""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from minillm import LLM, ModelConfig, Transformer, load_model, save_model, token_logprobs
from minillm.checkpoint.families import FAMILIES
from minillm.checkpoint.keys import hf_shapes, to_hf
from minillm.checkpoint.read_config import read_config
from minillm.checkpoint.safetensors import save_tensors
from minillm.errors import MinillmError
from minillm.model.batch import PAGE_SIZE, Batch
from minillm.model.kv_cache import KVCache
from minillm.model.precision import PRESETS

GOLDEN = Path(__file__).parents[1] / "golden"
script = runpy.run_path(str(GOLDEN / "write_families.py"))
CASES, LENGTHS, FLOAT_STEPS = script["CASES"], script["LENGTHS"], script["FLOAT_STEPS"]


@pytest.fixture(autouse=True)
def rounded() -> Iterator[None]:
    """What is in float32 has the same bits on both sides, and on every machine."""
    with script["Rounded"]():
        yield


def sequences(lengths: tuple[int, ...]) -> list[torch.Tensor]:
    return [torch.tensor(script["sequence"](n)) for n in lengths]


def lengths_of(case: str, double: bool) -> tuple[int, ...]:
    # Which list of factors longrope takes is decided by the model's context here, by a sequence's length
    # in transformers: they agree on sequences longer than the original length.
    if case == "phi3":
        return tuple(n for n in LENGTHS if n > 24)
    return LENGTHS


# By whether all is in float64, also where transformers has float32.
PRECISIONS = {False: PRESETS["fp64"], True: replace(PRESETS["fp64"], norm=torch.float64)}


class Case:
    """A case's model, ours and theirs; `double`: in float64 also where transformers has float32."""

    def __init__(self, name: str, double: bool, folder: Path) -> None:
        self.name, self.double, self.folder = name, double, folder
        script["write"](name, folder)
        with self.mode():
            self.theirs = script["load"](folder)
        self.ours = load_model(folder, PRECISIONS[double])
        self.lengths = lengths_of(name, double)
        self.limit, self.exact = 1e-9, None
        if name in FLOAT_STEPS and not double:
            # Twice what transformers' own float32 changes, where we do not follow it.
            with script["InDouble"]():
                self.exact = script["load"](folder)
            steps = [
                float((self.their_logits(s) - self.their_logits(s, self.exact)).detach().abs().max())
                for s in sequences(self.lengths)
            ]
            assert 0 < max(steps) < 1e-5
            self.limit = 2 * max(steps)

    def mode(self, double: bool | None = None) -> AbstractContextManager[Any]:
        double = self.double if double is None else double
        return script["InDouble"]() if double else nullcontext()  # type: ignore[no-any-return]

    def their_logits(self, ids: torch.Tensor, model: Any = None) -> torch.Tensor:
        """Of their model, or of the one that is float64 throughout."""
        model = self.theirs if model is None else model
        with self.mode(True if model is self.exact else None):
            return model(ids.unsqueeze(0), use_cache=False).logits[0]  # type: ignore[no-any-return]


@pytest.fixture(
    params=[(name, double) for name in CASES for double in (False, True)],
    scope="module",
    ids=lambda p: p[0] + ("-double" if p[1] else ""),
)
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    pytest.importorskip("transformers")
    yield Case(*request.param, tmp_path_factory.mktemp("family"))


def report(case: Case, record_property: Callable[[str, object], None], what: str, value: float) -> None:
    """For the table in the README (`tests/write_family_table.py`)."""
    record_property("family", case.ours.config.model_type)
    record_property("knobs", ", ".join(sorted(knobs(case.ours.config))))
    record_property("double" if case.double else "stock", f"{what} {value}")


def knobs(config: ModelConfig) -> set[str]:
    """The knobs in which this model is not a plain llama."""
    plain = {f.name: f.default for f in fields(ModelConfig) if f.default is not MISSING}
    unlisted = ("source", "experts", "expert_layers", "layout", "stored")
    unlisted += ("rope_float", "norm_native", "softmax_float", "alibi_rounding")  # how transformers rounds
    found = set()
    for name, usual in plain.items():
        value = getattr(config, name)
        if value != usual and name not in unlisted:
            words = name.replace("_", " ")
            found.add(
                f"{words} {value}" if isinstance(value, str) else f"no {words}" if value is False else words
            )
    found |= {f"rope {rope.type}" for rope in config.ropes if rope.type != "default"}
    found |= {"partial rope" for rope in config.ropes if rope.dim < config.head_dim and not config.latent}
    found |= {"rope by layer type"} if len(config.ropes) > 1 else set()
    found |= {"layers without rope"} if config.ropes and -1 in config.layer_rope else set()
    found |= {"windows"} if any(config.windows) else set()
    found |= {"scale"} if config.scale != config.heads[2] ** -0.5 else set()
    if config.experts is not None:
        found |= {"experts", f"{config.experts.router.replace('_', ' ')} router"}
        found |= {"shared expert"} if config.experts.shared_width else set()
        found |= {"expert groups"} if config.experts.groups > 1 else set()
    if config.tie_word_embeddings:
        found |= {"tied"}
    return found


def packed_logits(model: Transformer, ids: list[torch.Tensor]) -> torch.Tensor:
    return model.logits(model(torch.cat(ids), Batch.packed([len(s) for s in ids])))


@torch.no_grad()
def test_packed_logits(case: Case, record_property: Callable[[str, object], None]) -> None:
    ids = sequences(case.lengths)
    theirs = torch.cat([case.their_logits(s) for s in ids])
    assert float(theirs.std()) > 0.1
    difference = float((packed_logits(case.ours, ids) - theirs).abs().max())
    report(case, record_property, "packed", difference)
    assert difference < case.limit


@torch.no_grad()
def test_chunks_and_decode_over_the_cache(case: Case, record_property: Callable[[str, object], None]) -> None:
    ids = sequences(case.lengths)
    cache = KVCache(case.ours.config, case.ours.precision, num_pages=8)
    pages = [[2 * b + p for p in range(2)] for b in range(len(ids))]
    assert max(case.lengths) <= 2 * PAGE_SIZE
    rows: list[list[torch.Tensor]] = [[] for _ in ids]
    done = [0] * len(ids)
    for step in (13, 17, *[1] * 8, 100):
        counts = [min(step, len(s) - d) for s, d in zip(ids, done, strict=True)]
        going = [b for b, n in enumerate(counts) if n]
        if not going:
            continue
        batch = Batch.build([counts[b] for b in going], [done[b] for b in going], [pages[b] for b in going])
        tokens = torch.cat([ids[b][done[b] : done[b] + counts[b]] for b in going])
        logits = case.ours.logits(case.ours(tokens, batch, cache))
        for b, part in zip(going, logits.split([counts[b] for b in going]), strict=True):
            rows[b].append(part)
            done[b] += counts[b]
    cached = torch.cat([torch.cat(parts) for parts in rows])
    theirs = torch.cat([case.their_logits(s) for s in ids])
    difference = float((cached - theirs).abs().max())
    report(case, record_property, "cached", difference)
    assert difference < case.limit


def test_gradients_of_logprobs(case: Case, tmp_path: Path) -> None:
    ids = [s for s in sequences(case.lengths) if len(s) > 1]

    def of(model: Any) -> dict[str, torch.Tensor]:
        model.zero_grad()
        for s in ids:
            logprobs = torch.log_softmax(case.their_logits(s, model)[:-1], dim=-1)
            logprobs.gather(1, s[1:, None]).sum().backward()
        gradients = {
            n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in model.named_parameters()
        }
        return {name: gradient.double() for name, gradient in gradients.items()}

    exact = of(case.theirs)
    # Through transformers' float32, a gradient is as exact as float32.
    limit = 1e-8 if case.double else 1e-5
    if case.exact is not None:
        steps = ((exact[name] - g).abs().max() for name, g in of(case.exact).items())
        limit = max(limit, 2 * float(max(steps)))
        assert limit < 1e-4
    case.ours.zero_grad()
    torch.stack([t.sum() for t in token_logprobs(case.ours, [s.tolist() for s in ids])]).sum().backward()
    gradients = {
        n: p.grad if p.grad is not None else torch.zeros_like(p) for n, p in case.ours.named_parameters()
    }
    # Read back as a checkpoint, they stand where transformers has its own.
    (tmp_path / "config.json").write_bytes((case.folder / "config.json").read_bytes())
    save_tensors(tmp_path, to_hf(case.ours.config, gradients))
    with script["InDouble"]():
        read = script["load"](tmp_path)
    for name, parameter in read.named_parameters():
        assert float((parameter.detach() - exact[name]).abs().max()) < limit, name


@pytest.mark.parametrize("max_shard_bytes", (None, 100_000))
@torch.no_grad()
def test_our_checkpoint_loads_in_transformers(
    case: Case, tmp_path: Path, max_shard_bytes: int | None
) -> None:
    save_model(case.ours, tmp_path, max_shard_bytes)
    assert (tmp_path / "model.safetensors").is_file() == (max_shard_bytes is None)
    with case.mode():
        again = script["load"](tmp_path)
        ids = sequences(case.lengths)[0].unsqueeze(0)
        difference = again(ids, use_cache=False).logits - case.theirs(ids, use_cache=False).logits
    assert (
        float(difference.abs().max()) < 1e-12
    )  # equal weights elsewhere in memory may be added up otherwise
    for name, tensor in case.theirs.state_dict().items():
        assert torch.equal(again.state_dict()[name], tensor), name


@torch.no_grad()
def test_longrope_by_the_longest_sequence(tmp_path: Path) -> None:
    """Short factors where no sequence goes beyond the original context of 24, long ones elsewhere."""
    pytest.importorskip("transformers")
    script["write"]("phi3", tmp_path)
    with script["InDouble"]():
        theirs = script["load"](tmp_path)
        short, long = (torch.tensor(script["sequence"](n)) for n in (24, 72))
        exact = {s: theirs(s.unsqueeze(0), use_cache=False).logits[0] for s in (short, long)}
    model = load_model(tmp_path, PRECISIONS[True])

    def distance(ids: torch.Tensor) -> float:
        return float((packed_logits(model, [ids]) - exact[ids]).abs().max())

    assert distance(long) < 1e-9 and distance(short) > 1e-3
    llm = LLM(model, max_model_len=24)
    assert distance(short) < 1e-9
    with pytest.raises(MinillmError, match="longer than the model's context of 24"):
        llm.generate([long.tolist()])
    model.set_context(25)
    assert distance(long) < 1e-9
    again = load_model(tmp_path, PRECISIONS[True], max_model_len=20)
    assert float((packed_logits(again, [short[:20]]) - exact[short][:20]).abs().max()) < 1e-9
    with pytest.raises(MinillmError, match="a context must be 1 to 128 tokens"):
        model.set_context(129)


def test_experts_in_four_bits(tmp_path: Path) -> None:
    """gpt_oss as it is published: loaded like transformers' own conversion, saved as plain weights."""
    convert = pytest.importorskip("transformers.integrations.mxfp4").convert_moe_packed_tensors
    golden = json.loads((GOLDEN / "families.json").read_text())["gpt_oss"]["config"]
    settings = golden | {"hidden_size": 64, "intermediate_size": 96, "head_dim": 12}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    script["fill"](tmp_path, hf_shapes(read_config(tmp_path)))
    tensors = dict(load_file(tmp_path / "model.safetensors"))
    random = np.random.default_rng(0)
    plain, packed = dict(tensors), dict(tensors)
    for name, tensor in tensors.items():
        if name.endswith(("gate_up_proj", "down_proj")):
            E, K, N = tensor.shape
            blocks = torch.from_numpy(random.integers(256, size=(E, N, K // 32, 16), dtype=np.uint8))
            scales = torch.from_numpy(random.integers(120, 126, size=(E, N, K // 32), dtype=np.uint8))
            del packed[name]
            packed |= {f"{name}_blocks": blocks, f"{name}_scales": scales}
            plain[name] = convert(blocks, scales, dtype=torch.float64).contiguous()
    sequence = [script["sequence"](40)]
    save_tensors(tmp_path, plain)
    exact = token_logprobs(load_model(tmp_path, "fp64"), sequence)[0]
    save_tensors(tmp_path, packed)
    quantised = settings | {"quantization_config": {"quant_method": "mxfp4", "modules_to_not_convert": []}}
    (tmp_path / "config.json").write_text(json.dumps(quantised))
    model = load_model(tmp_path, "fp64")
    assert torch.equal(token_logprobs(model, sequence)[0], exact)
    save_model(model, tmp_path / "again")
    assert torch.equal(token_logprobs(load_model(tmp_path / "again", "fp64"), sequence)[0], exact)


@pytest.mark.parametrize("name", CASES)
def test_golden_values(name: str, tmp_path: Path) -> None:
    """Where transformers is not installed, what it made of the same weights is."""
    golden = json.loads((GOLDEN / "families.json").read_text())[name]
    (tmp_path / "config.json").write_text(json.dumps(golden["config"]))
    script["fill"](tmp_path, hf_shapes(read_config(tmp_path)))
    model = load_model(tmp_path, PRECISIONS[name in FLOAT_STEPS])
    found = token_logprobs(model, [script["sequence"](LENGTHS[0])])[0].detach()
    exact = torch.tensor(golden["logprobs"], dtype=torch.float64)
    assert float((found - exact).abs().max()) < 1e-9


def test_a_null_keeps_the_default_away(tmp_path: Path) -> None:
    for name, key, usual in (
        ("mistral-full", "sliding_window", 4096),
        ("gemma2", "attn_logit_softcapping", 50.0),
        ("deepseek_v3", "q_lora_rank", 1536),
    ):
        config = json.loads((GOLDEN / "families.json").read_text())[name]["config"]
        for value in (None, ..., 7):
            given = {k: v for k, v in {**config, key: value}.items() if v is not ...}
            (tmp_path / "config.json").write_text(json.dumps(given))
            read = read_config(tmp_path)
            found = {
                "sliding_window": max(read.windows),
                "attn_logit_softcapping": read.softcap,
                "q_lora_rank": read.latent and read.latent.q_rank,
            }[key]
            assert (found or None) == (usual if value is ... else value), (name, value)


def test_the_readme_has_every_family() -> None:
    readme = (GOLDEN.parents[1] / "minillm" / "README.md").read_text()
    table = readme.split("<!-- families -->")[1].split("<!-- end -->")[0]
    named = re.findall(r"^\| `([\w-]+)` \|", table, re.MULTILINE)
    assert named == list(FAMILIES)
    assert {model_type for model_type, _ in CASES.values()} == FAMILIES.keys()


def test_documents_give_the_number_of_families() -> None:
    root = Path(__file__).parents[2]
    text = "".join((root / name).read_text() for name in ("README.md", "CHANGELOG.md"))
    counts = re.findall(r"(\d+) families of models|families of text models \| (\d+)", text)
    assert [int(count or other) for count, other in counts] == [len(FAMILIES)] * 3
