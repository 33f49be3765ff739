"""Every family, bit for bit: training's forward, chunks and decode steps over a cache, any packing."""

from __future__ import annotations

import json
import runpy
from pathlib import Path

import pytest
import torch

from minillm import Transformer, load_model, token_logprobs
from minillm.checkpoint.keys import hf_shapes
from minillm.checkpoint.read_config import read_config
from minillm.model.batch import PAGE_SIZE, Batch
from minillm.model.kv_cache import KVCache

GOLDEN = Path(__file__).parents[1] / "golden"
script = runpy.run_path(str(GOLDEN / "write_families.py"))
CASES = tuple(script["CASES"])
# Beyond the windows and the page, and a length that no tile or vector knows.
LENGTHS = (72, 1, 33, 26)


def load(name: str, folder: Path, precision: str) -> Transformer:
    config = json.loads((GOLDEN / "families.json").read_text())[name]["config"]
    (folder / "config.json").write_text(json.dumps(config))
    script["fill"](folder, hf_shapes(read_config(folder)))
    return load_model(folder, precision)


def ids_of(lengths: tuple[int, ...]) -> list[torch.Tensor]:
    return [torch.tensor(script["sequence"](n)) for n in lengths]


def packed(model: Transformer, ids: list[torch.Tensor]) -> list[torch.Tensor]:
    logits = model.logits(model(torch.cat(ids), Batch.packed([len(s) for s in ids])))
    return list(logits.split([len(s) for s in ids]))


@torch.no_grad()
def cached(model: Transformer, ids: list[torch.Tensor], steps: tuple[int, ...]) -> list[torch.Tensor]:
    """Logits from chunks of these lengths, sequences that are done dropping out of the batch."""
    cache = KVCache(model.config, model.precision, num_pages=2 * len(ids))
    pages = [[2 * b + p for p in range(2)] for b in range(len(ids))]
    assert max(len(s) for s in ids) <= 2 * PAGE_SIZE
    rows: list[list[torch.Tensor]] = [[] for _ in ids]
    done = [0] * len(ids)
    for step in steps:
        counts = [min(step, len(s) - d) for s, d in zip(ids, done, strict=True)]
        going = [b for b, n in enumerate(counts) if n]
        batch = Batch.build([counts[b] for b in going], [done[b] for b in going], [pages[b] for b in going])
        tokens = torch.cat([ids[b][done[b] : done[b] + counts[b]] for b in going])
        logits = model.logits(model(tokens, batch, cache))
        for b, part in zip(going, logits.split([counts[b] for b in going]), strict=True):
            rows[b].append(part)
            done[b] += counts[b]
    assert done == [len(s) for s in ids]
    return [torch.cat(parts) for parts in rows]


@pytest.mark.parametrize("precision", ("fp32", "bf16", "bf16-master-fp32"))
@pytest.mark.parametrize("name", CASES)
def test_the_same_bits_on_every_path(name: str, precision: str, tmp_path: Path) -> None:
    model = load(name, tmp_path, precision)
    ids = ids_of(LENGTHS)
    trained = packed(model, ids)
    assert all(part.requires_grad for part in trained)
    others = {
        "chunks, then decode": cached(model, ids, (13, 17, *[1] * 8, 100)),
        "decode from the start": cached(model, ids[1:], (1,) * 33),
        "one at a time": [packed(model, [s])[0] for s in ids],
        "the other way round": packed(model, ids[::-1])[::-1],
    }
    for what, found in others.items():
        for mine, theirs in zip(trained[-len(found) :], found, strict=True):
            assert torch.equal(mine.detach(), theirs.detach()), what


@pytest.mark.parametrize("name", CASES)
def test_float32_is_near_float64(name: str, tmp_path: Path) -> None:
    """Logprobs and gradients of the kernels against the oracles'."""
    found, exact = load(name, tmp_path, "fp32"), load(name, tmp_path, "fp64")
    ids = [s.tolist() for s in ids_of((41,))]
    logprobs = {}
    for model in (found, exact):
        parts = token_logprobs(model, ids)
        sum(part.sum() for part in parts).backward()  # type: ignore[union-attr]
        logprobs[model] = torch.cat(parts).detach()
    assert float((logprobs[found] - logprobs[exact]).abs().max()) < 1e-4
    scale = max(float(p.grad.abs().max()) for p in exact.parameters() if p.grad is not None)
    for (part, mine), theirs in zip(found.named_parameters(), exact.parameters(), strict=True):
        if theirs.grad is None:
            assert mine.grad is None, part
            continue
        assert mine.grad is not None, part
        assert float((mine.grad - theirs.grad).abs().max()) < 1e-4 * scale, part
