"""Adapter folders of PEFT: their tensors, checked against their config and a model's.

PEFT adapts Hugging Face's modules, of which several can be one matrix of ours (q, k and v). Each has an A, a
B, a rank and a scale of its own. On our matrix they are one A of the summed rank, and one B that is zero but
for each module's rows and columns.

Legend: K inputs, R rank, N outputs, E experts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from minillm.checkpoint import safetensors as weights
from minillm.checkpoint.peft.config import COMPUTED, MERGE, Targets, read_settings
from minillm.checkpoint.peft.places import FLIPPED, INSIDE, Place, aliases, inside, places, stacks
from minillm.checkpoint.weights_files import open_weights
from minillm.errors import MinillmError
from minillm.model.config import Matrix, ModelConfig

CONFIG_NAME = "adapter_config.json"
ADAPTER_NAME = "adapter_model.safetensors"
# What PEFT puts before the name of a module.
PREFIX = "base_model.model."
# Keys that say which modules are adapted.
WHERE = {"target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"}
# What a head is called that is tied to an embedding.
HEADS = ("lm_head", "embed_out")
TIED = "is the embedding and the head at once in this model, and PEFT changes one of them"
# After the name of an embedding: the rows of it that were trained.
TOKENS = ".token_adapter.trainable_tokens_delta"


class Part(NamedTuple):
    """A pair of theirs: `rank` of our A's columns and B's rows, from `start` on, at the place's outputs.

    `flipped`: PEFT takes inputs for outputs, so its A is of ours the B.
    """

    module: str
    place: Place
    names: tuple[str, str]
    rank: int
    scale: float
    flipped: bool = False
    start: int = 0

    @property
    def shapes(self) -> tuple[torch.Size, torch.Size]:
        """Of A, (R, K), and B, (N, R), in a file."""
        shape, R = self.place.shape, self.rank * max(1, self.place.stacked)
        K, N = shape.K if isinstance(shape, Matrix) else shape[0], len(self.place.column_N)
        K, N = (N, K) if self.flipped else (K, N)
        return torch.Size((R, K)), torch.Size((N, R))

    def rows(self, A_KR: torch.Tensor, B_RN: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What it has of our A and B: views."""
        if self.place.expert is not None:
            A_KR, B_RN = A_KR[self.place.expert], B_RN[self.place.expert]
        here = slice(self.start, self.start + self.rank)
        return A_KR[..., here], B_RN[..., here, :]

    def get(self, A_KR: torch.Tensor, B_RN: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Theirs from ours: copies, since a file takes no two names of one memory."""
        A_KR, B_RN = (x.detach() for x in self.rows(A_KR, B_RN))
        B_RN = B_RN[..., self.place.column_N]
        A_KR, B_RN = (B_RN.mT, A_KR.mT) if self.flipped else (A_KR, B_RN)
        if self.place.stacked:  # theirs are (E, R, K) and (N, R, E), folded
            pair = A_KR.mT.flatten(0, 1), B_RN.permute(2, 1, 0).flatten(1)
        else:
            pair = A_KR.mT, B_RN.mT
        A_RK, B_NR = (x.clone(memory_format=torch.contiguous_format) for x in pair)
        return A_RK, B_NR

    def put(self, A_KR: torch.Tensor, B_RN: torch.Tensor, A_RK: torch.Tensor, B_NR: torch.Tensor) -> None:
        """Theirs into ours."""
        A, B = A_RK.mT, B_NR.mT
        if E := self.place.stacked:
            A, B = A_RK.unflatten(0, (E, -1)).mT, B_NR.unflatten(1, (-1, E)).permute(2, 1, 0)
        A, B = (B.mT, A.mT) if self.flipped else (A, B)
        A_KR, B_RN = self.rows(A_KR, B_RN)
        A_KR.copy_(A)
        B_RN[..., self.place.column_N] = B.to(B_RN)


class Values(NamedTuple):
    """What stands in place of one of the model's tensors, or of some rows of it.

    `name` is the tensor's in the adapter's file, `own` the one that it stands for.
    """

    name: str
    own: str
    place: Place
    tensor: torch.Tensor
    rows: list[int] | None


@dataclass(frozen=True)
class Found:
    """What a folder holds: its config, its pairs of A and B, what replaces weights, and every tensor."""

    settings: dict[str, Any]
    parts: list[Part]
    values: list[Values]
    tensors: dict[str, torch.Tensor]


def adapter_file(folder: Path) -> Path:
    """The file of an adapter's tensors, which older PEFT wrote as a pickle."""
    path = folder / ADAPTER_NAME
    pickled = path.with_suffix(".bin")
    return pickled if pickled.is_file() and not path.is_file() else path


def load(path: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a file."""
    file = open_weights(path)
    try:
        return {name: file.tensor(name) for name in file.header()}
    finally:
        file.close()


def shared_parts(config: ModelConfig, ranks: Mapping[str, int], scale: float) -> list[Part]:
    """The parts of a LoRA in which the modules of one matrix share its one A; `ranks` has those matrices'."""
    parts = []
    for name, place in places(config).items():
        if place.ours not in ranks:
            continue
        if place.stacked:
            raise MinillmError(
                f"{place.ours}: a checkpoint of {config.model_type} keeps all experts in one tensor, {name}, "
                "and PEFT has no modules for them; use remove(merge=True) and save_model, or leave them out "
                "of the targets"
            )
        module = name.removesuffix(".weight")
        parts.append(Part(module, place, _pair(module), ranks[place.ours], scale))
    return parts


def check(path: Path, parts: list[Part], found: Mapping[str, tuple[str, torch.Size]], what: str) -> None:
    """Raise `MinillmError` for A and B that are missing, left over, or of another shape or kind."""
    expected = {name: shape for part in parts for name, shape in zip(part.names, part.shapes, strict=True)}
    weights._refuse(path, f"lacks tensors of {what}", expected.keys() - found.keys())
    weights._refuse(path, f"has tensors that {what} has not", found.keys() - expected.keys())
    problems = {
        f"{name} ({dtype}, {list(shape)}; expected {list(expected[name])})"
        for name, (dtype, shape) in found.items()
        if dtype not in weights._FLOATS or shape != expected[name]
    }
    weights._refuse(path, f"has tensors that do not fit {what}", problems)


def read(config: ModelConfig, parameters: Mapping[str, torch.Tensor], folder: Path) -> Found:
    """Read an adapter's folder, strictly, for a model of this config with these parameters.

    Raises `MinillmError` for what `read_settings` refuses, for tensors that are missing, left over or of
    another shape, for modules that the config does not name, and for adapters of tied embeddings.
    """
    settings = read_settings(folder / CONFIG_NAME)
    path, targets = adapter_file(folder), Targets(folder / CONFIG_NAME, settings)
    held, stored = weights._inspect(path), places(config)
    for prefix in INSIDE:
        if any(name.startswith(PREFIX + prefix) for name in held):
            stored = inside(stored, prefix)
    factors = {name for name in held if ".lora_" in name}
    modules = {name.removeprefix(PREFIX).partition(".lora_")[0] for name in factors}
    if config.tie_word_embeddings:
        heads = {name.rpartition(".")[0] for name, place in stored.items() if place.ours == "head"}
        for module in sorted(x for x in modules if x in heads or x.endswith(HEADS)):
            raise MinillmError(f"{path}: {module} {TIED}; {MERGE}")
    parts = [*_module_parts(targets, stored, modules), *_stacked_parts(config, targets, stored)]
    named = {_module(part) for part in parts}
    weights._refuse(path, "has modules that this model has not, or its config does not name", modules - named)
    check(path, parts, {name: held[name] for name in factors}, "the adapter of its config")
    tensors = load(path)
    values = list(_values(config, targets, stored, {n: tensors[n] for n in held.keys() - factors}, path))
    changed = _changed(config, {part.place.ours for part in parts}, values, parameters, path)
    return Found(settings, _in_rows(parts), changed, tensors)


def check_settings(path: Path, settings: Mapping[str, Any], shared: Sequence[Part]) -> None:
    """Raise `MinillmError` for the config of another adapter than the LoRA with these settings.

    `shared` are its parts, if they share what is one matrix here.
    """
    given = read_settings(path)
    for key in ("r", "lora_alpha") if shared else ():
        if given[key] != settings[key]:
            alpha = f"{given['lora_alpha']:g}"
            raise MinillmError(
                f"{path} has rank {given['r']} and alpha {alpha}, this LoRA {settings['r']} and "
                f"{settings['lora_alpha']:g}; make it as LoRA(model, rank={given['r']}, alpha={alpha})"
            )
    for key in sorted(COMPUTED.keys() - (WHERE if shared else set())):
        theirs, own = given.get(key), settings.get(key)
        if _plain(key, theirs) != _plain(key, own):
            raise MinillmError(
                f"{path}: {key} is {theirs!r}, and this LoRA has {own!r}; read it with LoRA.from_folder, or "
                f"{MERGE}"
            )
    for part in shared:
        if not Targets(path, given).module(part.module, linear=True):
            raise MinillmError(
                f"{path}: target_modules, or a key beside it, leaves out {part.module} of this LoRA; "
                "read it with LoRA.from_folder"
            )


def _plain(key: str, value: Any) -> Any:
    """A value of a key, such that values of one meaning are equal."""
    if key != "trainable_token_indices" and isinstance(value, list):
        return set(value) or None  # PEFT writes sets in any order
    return None if key == "bias" and value == "none" else value or None


def check_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], shared: Sequence[Part], kept: Mapping[str, torch.Tensor]
) -> None:
    """Raise `MinillmError` for two A where modules share one, and for other values than those `kept`."""
    first: dict[tuple[str, int | None], Part] = {}
    for part in shared:
        other = first.setdefault((part.place.ours, part.place.expert), part)
        if not torch.equal(tensors[part.names[0]], tensors[other.names[0]]):
            raise MinillmError(
                f"{path}: {other.module} and {part.module} have a lora_A each, but are one matrix here "
                f"({part.place.ours}), which has one for both; read it with LoRA.from_folder, or {MERGE}"
            )
    for name, tensor in kept.items():
        if name not in tensors or not torch.equal(tensors[name], tensor):
            raise MinillmError(f"{path}: {name} is not what this LoRA has; read it with LoRA.from_folder")


def _pair(module: str, form: str = "lora_{}.weight") -> tuple[str, str]:
    """Names of A and B in a file."""
    A, B = (f"{PREFIX}{module}.{form.format(x)}" for x in "AB")
    return A, B


def _module(part: Part) -> str:
    return part.names[0].removeprefix(PREFIX).partition(".lora_")[0]


def _module_parts(targets: Targets, stored: Mapping[str, Place], modules: set[str]) -> Iterator[Part]:
    """Of the modules that the config names, under the names that the file has for them."""
    called = {name: [x.rpartition(".")[0] for x in aliases(name)] for name in stored}
    # Where a file keeps all experts in one tensor, names in its config are not those of experts' modules.
    apart = {x.ours for name, x in stored.items() if x.expert is not None and modules & set(called[name])}
    for name, place in stored.items():
        matrix = isinstance(place.shape, Matrix)
        if place.stacked or not (matrix or place.own == "embed"):
            continue
        if place.expert is not None and place.ours not in apart:
            continue
        linear = place.ours.startswith("layers.") and place.own != "router"
        for module in sorted(called[name], key=lambda x: x not in modules):
            # The parameter of a Linear is adapted as the module is, but patterns know it by its own name.
            whole = targets.module(module, linear)
            if whole or (place.transposed and targets.parameter(f"{module}.weight")):
                key = module if whole else f"{module}.weight"
                pair = _pair(module, "lora_{}.weight" if matrix else "lora_embedding_{}")
                yield Part(module, place, pair, targets.rank(key), targets.scale(key))
                break


def _stacked_parts(config: ModelConfig, targets: Targets, stored: Mapping[str, Place]) -> Iterator[Part]:
    """Of the parameters that hold all experts and that the config names."""
    stacked = stacks(stored)
    matrices = {name for name, place in stored.items() if place.transposed} | stacked.keys()
    for name in sorted(stored.keys() - matrices):
        if any(map(targets.parameter, aliases(name))):
            raise MinillmError(
                f"{targets.path}: target_parameters has {name}, which is no matrix (N, K) of this model, nor "
                f"of all its experts; {MERGE}"
            )
    chosen = [name for name in stacked if targets.parameter(name)]
    for place, name in enumerate(chosen):
        block = name.rpartition(".")[0]
        # PEFT wraps a module once for each of its parameters, the last one outermost.
        inside = sum(x.rpartition(".")[0] == block for x in chosen[place + 1 :])
        pair = _pair(block + ".base_layer" * inside)
        flipped = config.model_type in FLIPPED
        yield Part(name, stacked[name], pair, targets.rank(name), targets.scale(name), flipped)


def _in_rows(parts: list[Part]) -> list[Part]:
    """Each part with rows of its own in the A and B of its matrix, or of its expert."""
    used: dict[str, dict[int | None, int]] = {}
    result = []
    for part in parts:
        rows, e = used.setdefault(part.place.ours, {}), part.place.expert
        start = max((end for other, end in rows.items() if e is None or other in (e, None)), default=0)
        rows[e] = start + part.rank
        result.append(part._replace(start=start))
    return result


def _values(
    config: ModelConfig,
    targets: Targets,
    stored: Mapping[str, Place],
    tensors: Mapping[str, torch.Tensor],
    path: Path,
) -> Iterator[Values]:
    """What is not A or B: biases, modules_to_save, trained rows of embeddings, and copies of the base's."""
    names = {
        name: name.removeprefix(PREFIX).replace(".base_layer.", ".").replace(TOKENS, ".weight")
        for name in sorted(tensors)
    }
    live = {alias: place for name, place in stored.items() for alias in aliases(name)}
    if config.tie_word_embeddings:
        embedding = next(place for place in stored.values() if place.ours == "head")
        live |= {own: embedding for own in names.values() if _is_head(own)}
    unknown = {name for name, own in names.items() if own not in live or not name.startswith(PREFIX)}
    weights._refuse(path, "has tensors that this model has not", unknown)
    _check_lists(targets, stored, names, path)
    for name, own in names.items():
        place, tensor, rows = live[own], tensors[name], None
        size = place.size
        if name.endswith(TOKENS):
            rows = targets.tokens(own.removesuffix(".weight")) or []
            size = torch.Size((sum(0 <= row < size[0] for row in rows), *size[1:]))
        if not tensor.is_floating_point() or tensor.shape != size:
            problem = f"{name} ({tensor.dtype}, {list(tensor.shape)}; expected {list(size)})"
            weights._refuse(path, "has tensors that do not fit this model or the adapter's config", [problem])
        yield Values(name, own, place, tensor, rows)


def _is_head(name: str) -> bool:
    return name.removesuffix(".weight").endswith(HEADS)


def _check_lists(targets: Targets, stored: Mapping[str, Place], names: Mapping[str, str], path: Path) -> None:
    """Raise for what modules_to_save and trainable_token_indices name, but the model or the file has not."""
    held = set(names.values())
    for module in targets.settings.get("modules_to_save") or ():
        # Whatever ends so, as PEFT has it, and what is in it.
        saved = [x for x in map(aliases, stored) if any(f"{module}." in name for name in x)]
        if not saved and not any(f"{module}." in own for own in held):
            raise MinillmError(
                f"{targets.path}: modules_to_save has {module}, which is no module of this model; load the "
                "adapter into the model that it was trained on"
            )
        missing = {x[0] for x in saved if not held & set(x)}
        weights._refuse(path, f"lacks tensors of {module}, one of modules_to_save", missing)
    indices = targets.settings.get("trainable_token_indices") or ()
    rows = [own.removesuffix(".weight") for name, own in names.items() if name.endswith(TOKENS)]
    ends = indices if isinstance(indices, dict) else ("",)
    missing = {end or "the embedding" for end in ends if not any(row.endswith(end) for row in rows)}
    weights._refuse(path, "lacks rows that trainable_token_indices names", missing if indices else ())


def _changed(
    config: ModelConfig,
    adapted: set[str],
    values: list[Values],
    parameters: Mapping[str, torch.Tensor],
    path: Path,
) -> list[Values]:
    """The values that are not the model's own, which PEFT writes too where an embedding is adapted."""
    changed = []
    for value in values:
        ours = value.place.ours
        before = parameters[ours].detach()
        value.place.put(after := before.clone(), value.tensor.to(before.device), value.rows)
        if torch.equal(after, before):
            continue
        tied = config.tie_word_embeddings and ours == "head"
        if tied and (value.rows is None or _is_head(value.own)):
            raise MinillmError(f"{path}: {value.name} {TIED}; {MERGE}")
        if ours in adapted:
            raise MinillmError(
                f"{path}: {value.name} is not the model's own, and {ours} has A and B too; load the "
                "model that the adapter was trained on"
            )
        changed.append(value)
    return changed
