"""Strict reading and atomic writing, on tiny files."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from minillm.checkpoint.naming import ROTARY, Naming
from minillm.checkpoint.safetensors import INDEX_NAME, WEIGHTS_NAME, Checkpoint, save_tensors
from minillm.errors import MinillmError

TENSORS = {
    "embed.weight": torch.randn(7, 3),
    "norm.weight": torch.randn(3),
    "head.weight": torch.randn(7, 3).to(torch.bfloat16),
}
EXPECTED = {name: tensor.shape for name, tensor in TENSORS.items()}


def load_tensors(
    folder: Path, expected: dict[str, torch.Size], ignore: re.Pattern[str] | None = ROTARY
) -> dict[str, torch.Tensor]:
    skipped = {} if ignore is None else {"ignored tensors": ignore}
    checkpoint = Checkpoint(folder, expected, Naming(skipped=skipped))
    return {name: checkpoint[name] for name in expected}


def save_sharded(folder: Path) -> None:
    weight_map = {}
    for i, (name, tensor) in enumerate(TENSORS.items()):
        file = f"model-{i + 1:05}-of-00003.safetensors"
        save_file({name: tensor}, folder / file)
        weight_map[name] = file
    (folder / INDEX_NAME).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return list(left) == list(right) and all(
        left[n].dtype == right[n].dtype and torch.equal(left[n], right[n]) for n in left
    )


def refused(folder: Path, *patterns: str, expected: dict[str, torch.Size] = EXPECTED) -> None:
    with pytest.raises(MinillmError) as caught:
        load_tensors(folder, expected)
    for pattern in patterns:
        assert re.search(pattern, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)


def test_round_trip(tmp_path: Path) -> None:
    path = save_tensors(tmp_path / "new", TENSORS, {"step": "3"})
    assert path.name == WEIGHTS_NAME
    assert same(load_tensors(path.parent, EXPECTED), TENSORS)
    assert [p.name for p in path.parent.iterdir()] == [WEIGHTS_NAME]


def test_views_and_transposes_are_saved_as_seen(tmp_path: Path) -> None:
    transposed = torch.randn(4, 6).T
    save_tensors(tmp_path, {"w": transposed})
    assert torch.equal(load_tensors(tmp_path, {"w": transposed.shape})["w"], transposed)


def test_sharded(tmp_path: Path) -> None:
    save_sharded(tmp_path)
    assert same(load_tensors(tmp_path, EXPECTED), TENSORS)


def test_writing_to_a_loaded_tensor_leaves_the_file(tmp_path: Path) -> None:
    save_tensors(tmp_path, TENSORS)
    load_tensors(tmp_path, EXPECTED)["norm.weight"].zero_()
    assert same(load_tensors(tmp_path, EXPECTED), TENSORS)


def test_saving_over_a_loaded_file(tmp_path: Path) -> None:
    save_tensors(tmp_path, TENSORS)
    loaded = load_tensors(tmp_path, EXPECTED)
    save_tensors(tmp_path, {name: tensor + 1 for name, tensor in loaded.items()})
    assert same(loaded, TENSORS)


def test_failed_save_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_tensors(tmp_path, TENSORS)

    def broken(tensors: Any, filename: Path, metadata: Any) -> None:
        filename.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr("minillm.checkpoint.safetensors.save_file", broken)
    with pytest.raises(MinillmError, match=r"cannot write .*No space left"):
        save_tensors(tmp_path, {})
    assert same(load_tensors(tmp_path, EXPECTED), TENSORS)
    assert [p.name for p in tmp_path.iterdir()] == [WEIGHTS_NAME]


def test_missing_tensors_are_named(tmp_path: Path) -> None:
    save_tensors(tmp_path, {"norm.weight": TENSORS["norm.weight"]})
    refused(tmp_path, WEIGHTS_NAME, "lacks", r"embed\.weight, head\.weight$")


def test_extra_tensors_are_named_and_counted(tmp_path: Path) -> None:
    save_tensors(tmp_path, TENSORS | {f"extra.{i}": torch.zeros(1) for i in range(6)})
    refused(tmp_path, r"extra\.0, extra\.1, extra\.2, extra\.3 and 2 more")


def test_harmless_extras_are_dropped(tmp_path: Path) -> None:
    name = "model.layers.0.self_attn.rotary_emb.inv_freq"
    save_tensors(tmp_path, TENSORS | {name: torch.zeros(4)})
    assert same(load_tensors(tmp_path, EXPECTED), TENSORS)
    with pytest.raises(MinillmError, match="inv_freq"):
        load_tensors(tmp_path, EXPECTED, ignore=None)


def test_wrong_shape_names_both(tmp_path: Path) -> None:
    save_tensors(tmp_path, TENSORS | {"norm.weight": torch.zeros(4)})
    refused(tmp_path, r"norm\.weight \(shape \[4\], expected \[3\]\)")


def test_quantised_dtype(tmp_path: Path) -> None:
    save_tensors(tmp_path, TENSORS | {"norm.weight": torch.zeros(3, dtype=torch.int8)})
    refused(tmp_path, r"norm\.weight \(dtype I8")


@pytest.mark.parametrize("size", [0, 5, 40, -1])
def test_truncated(tmp_path: Path, size: int) -> None:
    path = save_tensors(tmp_path, TENSORS)
    path.write_bytes(path.read_bytes()[:size])
    refused(tmp_path, WEIGHTS_NAME, "truncated")


def test_no_weights(tmp_path: Path) -> None:
    refused(tmp_path, f"neither {WEIGHTS_NAME} nor {INDEX_NAME}")


def test_missing_shard(tmp_path: Path) -> None:
    save_sharded(tmp_path)
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    refused(tmp_path, INDEX_NAME, r"model-00002-of-00003\.safetensors")


def test_truncated_shard(tmp_path: Path) -> None:
    save_sharded(tmp_path)
    path = tmp_path / "model-00002-of-00003.safetensors"
    path.write_bytes(path.read_bytes()[:-2])
    refused(tmp_path, r"model-00002-of-00003\.safetensors is truncated")


def test_shard_without_its_tensor(tmp_path: Path) -> None:
    save_sharded(tmp_path)
    save_file({"other": torch.zeros(1)}, tmp_path / "model-00002-of-00003.safetensors")
    refused(tmp_path, r"model-00002-of-00003\.safetensors lacks", r"norm\.weight")


def test_tensor_in_two_shards(tmp_path: Path) -> None:
    save_sharded(tmp_path)
    both = {name: TENSORS[name] for name in ("embed.weight", "norm.weight")}
    save_file(both, tmp_path / "model-00002-of-00003.safetensors")
    refused(tmp_path, "repeats", r"embed\.weight")


def test_single_file_beside_shards(tmp_path: Path) -> None:
    save_sharded(tmp_path)
    save_file(TENSORS, tmp_path / WEIGHTS_NAME)
    refused(tmp_path, "two checkpoints")


def test_shards_are_as_small_as_asked_for(tmp_path: Path) -> None:
    tensors = {f"t{i}": torch.full((100,), float(i)) for i in range(7)}
    index = save_tensors(tmp_path, tensors, max_shard_bytes=1000)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert index.name == INDEX_NAME and names[0] == "model-00001-of-00004.safetensors" and len(names) == 5
    loaded = load_tensors(tmp_path, {name: tensor.shape for name, tensor in tensors.items()})
    assert all(torch.equal(loaded[name], tensor) for name, tensor in tensors.items())


def test_a_new_checkpoint_takes_the_place_of_another_number_of_files(tmp_path: Path) -> None:
    shapes = {name: tensor.shape for name, tensor in TENSORS.items()}
    for most in (None, 1, 1 << 30, 1):
        save_tensors(tmp_path, TENSORS, max_shard_bytes=most)
        files = {path.name for path in tmp_path.iterdir()}
        assert files == {WEIGHTS_NAME} or len(files) == len(TENSORS) + 1
        loaded = load_tensors(tmp_path, shapes)
        assert all(torch.equal(loaded[name], tensor) for name, tensor in TENSORS.items())


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"weight_map": {"w": "../w.safetensors"}}'])
def test_broken_index(tmp_path: Path, text: str) -> None:
    (tmp_path / INDEX_NAME).write_text(text)
    refused(tmp_path, INDEX_NAME, "not an index")
