"""Adapter folders of PEFT: their tensors, checked against their config and a model's.

PEFT adapts Hugging Face's modules, of which several can be one matrix of ours (q, k and v). Each has an A, a
B, a rank and a scale of its own. On our matrix they are one A of the summed rank, and one B that is zero but
for each module's rows and columns.

Legend: K inputs, R rank, N outputs, E experts.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from minillm.checkpoint import safetensors as weights
from minillm.checkpoint.keys import Place, places
from minillm.checkpoint.peft.config import COMPUTED, MERGE, Targets, read_settings
from minillm.checkpoint.peft.places import FLIPPED, INSIDE, aliases, inside, stacks
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


class Pair(NamedTuple):
    """An A and B of theirs: `rank` of our A's columns and B's rows, from `start` on, at the place's outputs.

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
        R, K, N = self.rank * max(1, self.place.stacked), self.place.shape[0], len(self.place.column_N)
        K, N = (N, K) if self.flipped else (K, N)
        return torch.Size((R, K)), torch.Size((N, R))

    def rows(self, A_KR: torch.Tensor, B_RN: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Select what it has of our A and B: views."""
        if self.place.expert is not None:
            A_KR, B_RN = A_KR[self.place.expert], B_RN[self.place.expert]
        here = slice(self.start, self.start + self.rank)
        return A_KR[..., here], B_RN[..., here, :]

    def get(self, A_KR: torch.Tensor, B_RN: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Make theirs of ours: copies, since a file takes no two names of one memory."""
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
        """Write theirs into ours."""
        A, B = A_RK.mT, B_NR.mT
        if E := self.place.stacked:
            A, B = A_RK.unflatten(0, (E, -1)).mT, B_NR.unflatten(1, (-1, E)).permute(2, 1, 0)
        A, B = (B.mT, A.mT) if self.flipped else (A, B)
        A_KR, B_RN = self.rows(A_KR, B_RN)
        A_KR.copy_(A)
        B_RN[..., self.place.column_N] = B.to(B_RN)


# What stands in place of one of the model's tensors, or of some rows of it.
Value = tuple[Place, torch.Tensor, list[int] | None]


@dataclass(frozen=True)
class PeftAdapter:
    """An adapter as PEFT's files describe it: its config, its pairs of A and B, and what replaces weights.

    Attributes:
        tensors: every tensor of the file that it was read from.
        shared: it was made here, with one A for the modules that are one matrix here.
    """

    settings: dict[str, Any]
    pairs: list[Pair]
    values: list[Value]
    tensors: dict[str, torch.Tensor]
    shared: bool = False


def _file(folder: Path) -> Path:
    """Find the file of an adapter's tensors, which older PEFT wrote as a pickle."""
    path = folder / ADAPTER_NAME
    pickled = path.with_suffix(".bin")
    return pickled if pickled.is_file() and not path.is_file() else path


def _load(path: Path) -> dict[str, torch.Tensor]:
    """Read every tensor of a file."""
    with closing(open_weights(path)) as file:
        return {name: file.tensor(name) for name in file.header()}


def describe(config: ModelConfig, matrices: Collection[str], rank: int, alpha: float) -> PeftAdapter:
    """Describe a LoRA of one rank and alpha on these matrices of ours, each with one A.

    Raises `MinillmError` for experts that a checkpoint keeps in one tensor.
    """
    pairs, modules = [], set()
    for name, place in places(config).items():
        if place.ours not in matrices:
            continue
        if place.stacked:
            raise MinillmError(
                f"{place.ours}: a checkpoint of {config.model_type} keeps all experts in one tensor, {name}, "
                "and PEFT has no modules for them; use remove(merge=True) and save_model, or leave them out "
                "of the targets"
            )
        module = name.removesuffix(".weight")
        pairs.append(Pair(module, place, _names(module), rank, alpha / rank))
        # Below a layer, since a last name can be another matrix's too (c_proj, gate_proj).
        modules.add(module.partition(f".{place.ours.split('.')[1]}.")[2])
    settings = {
        "peft_type": "LORA",
        "use_rslora": False,
        "use_dora": False,
        "rank_pattern": {},
        "alpha_pattern": {},
        "bias": "none",
        "modules_to_save": None,
        "target_parameters": None,
        "trainable_token_indices": None,
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": None,
        "r": rank,
        "lora_alpha": alpha,
        "lora_dropout": 0.0,
        "fan_in_fan_out": any(not pair.place.transposed for pair in pairs),
        "target_modules": sorted(modules),
        "inference_mode": True,
    }
    return PeftAdapter(settings, pairs, [], {}, shared=True)


def _check(path: Path, pairs: list[Pair], header: Mapping[str, tuple[str, torch.Size]], what: str) -> None:
    """Raise `MinillmError` for A and B that are missing, left over, or of another shape or kind."""
    expected = {name: shape for pair in pairs for name, shape in zip(pair.names, pair.shapes, strict=True)}
    weights.refuse(path, f"lacks tensors of {what}", expected.keys() - header.keys())
    weights.refuse(path, f"has tensors that {what} has not", header.keys() - expected.keys())
    problems = {
        f"{name} ({dtype}, {list(shape)}; expected {list(expected[name])})"
        for name, (dtype, shape) in header.items()
        if dtype not in weights.FLOATS or shape != expected[name]
    }
    weights.refuse(path, f"has tensors that do not fit {what}", problems)


def read(config: ModelConfig, parameters: Mapping[str, torch.Tensor], folder: Path) -> PeftAdapter:
    """Read an adapter's folder, strictly, for a model of this config with these parameters.

    Raises `MinillmError` for what `read_settings` refuses, for tensors that are missing, left over or of
    another shape, for modules that the config does not name, and for adapters of tied embeddings.
    """
    settings = read_settings(folder / CONFIG_NAME)
    path, targets = _file(folder), Targets(folder / CONFIG_NAME, settings)
    header, stored = weights.header(path), places(config)
    for prefix in INSIDE:
        if any(name.startswith(PREFIX + prefix) for name in header):
            stored = inside(stored, prefix)
    factors = {name for name in header if ".lora_" in name}
    modules = {_module(name) for name in factors}
    if config.tie_word_embeddings:
        heads = {name.rpartition(".")[0] for name, place in stored.items() if place.ours == "head"}
        for module in sorted(x for x in modules if x in heads or x.endswith(HEADS)):
            raise MinillmError(f"{path}: {module} {TIED}; {MERGE}")
    pairs = [*_module_pairs(targets, stored, modules), *_stacked_pairs(config, targets, stored)]
    unnamed = modules - {_module(pair.names[0]) for pair in pairs}
    weights.refuse(path, "has modules that this model has not, or its config does not name", unnamed)
    _check(path, pairs, {name: header[name] for name in factors}, "the adapter of its config")
    tensors = _load(path)
    others = {name: tensors[name] for name in sorted(header.keys() - factors)}
    adapted = {pair.place.ours for pair in pairs}
    values = list(_values(config, targets, stored, others, parameters, adapted, path))
    return PeftAdapter(settings, _in_rows(pairs), values, tensors)


def reread(folder: Path, known: PeftAdapter, what: str) -> dict[str, torch.Tensor]:
    """Read the tensors of a folder that holds the adapter `known`, called `what`, with other A and B.

    Raises `MinillmError` for another config, for tensors that are missing, left over or of another shape,
    for two A where modules share one, and for other values than the known ones.
    """
    _check_settings(folder / CONFIG_NAME, known)
    path = _file(folder)
    factors = {name for pair in known.pairs for name in pair.names}
    kept = {name: tensor for name, tensor in known.tensors.items() if name not in factors}
    _check(path, known.pairs, {n: x for n, x in weights.header(path).items() if n not in kept}, what)
    tensors = _load(path)
    first: dict[tuple[str, int | None], Pair] = {}
    for pair in known.pairs if known.shared else ():
        other = first.setdefault((pair.place.ours, pair.place.expert), pair)
        if not torch.equal(tensors[pair.names[0]], tensors[other.names[0]]):
            raise MinillmError(
                f"{path}: {other.module} and {pair.module} have a lora_A each, but are one matrix here "
                f"({pair.place.ours}), which has one for both; read it with LoRA.from_folder, or {MERGE}"
            )
    for name, tensor in kept.items():
        if name not in tensors or not torch.equal(tensors[name], tensor):
            raise MinillmError(f"{path}: {name} is not what this LoRA has; read it with LoRA.from_folder")
    return tensors


def _check_settings(path: Path, known: PeftAdapter) -> None:
    """Raise `MinillmError` for the config of another adapter than the known one."""
    settings, wanted = read_settings(path), known.settings
    if known.shared and any(settings[key] != wanted[key] for key in ("r", "lora_alpha")):
        alpha = f"{settings['lora_alpha']:g}"
        raise MinillmError(
            f"{path} has rank {settings['r']} and alpha {alpha}, this LoRA {wanted['r']} and "
            f"{wanted['lora_alpha']:g}; make it as LoRA(model, rank={settings['r']}, alpha={alpha})"
        )
    for key in sorted(COMPUTED.keys() - (WHERE if known.shared else set())):
        theirs, ours = settings.get(key), wanted.get(key)
        if _plain(key, theirs) != _plain(key, ours):
            raise MinillmError(
                f"{path}: {key} is {theirs!r}, and this LoRA has {ours!r}; read it with LoRA.from_folder, or "
                f"{MERGE}"
            )
    for pair in known.pairs if known.shared else ():
        if not Targets(path, settings).module(pair.module, linear=True):
            raise MinillmError(
                f"{path}: target_modules, or a key beside it, leaves out {pair.module} of this LoRA; "
                "read it with LoRA.from_folder"
            )


def _plain(key: str, value: Any) -> Any:
    """Make values of one meaning equal."""
    if key != "trainable_token_indices" and isinstance(value, list):
        return set(value) or None  # PEFT writes sets in any order
    return None if key == "bias" and value == "none" else value or None


def _names(module: str, form: str = "lora_{}.weight") -> tuple[str, str]:
    """Name A and B in a file."""
    A, B = (f"{PREFIX}{module}.{form.format(x)}" for x in "AB")
    return A, B


def _module(name: str) -> str:
    """Tell which module a tensor of a file adapts."""
    return name.removeprefix(PREFIX).partition(".lora_")[0]


def _module_pairs(targets: Targets, stored: Mapping[str, Place], modules: set[str]) -> Iterator[Pair]:
    """Find those of modules that the config names, under the names that the file has for them."""
    called = {name: [x.rpartition(".")[0] for x in aliases(name)] for name in stored}
    # Where a file keeps all experts in one tensor, names in its config are not those of experts' modules.
    apart = {x.ours for name, x in stored.items() if x.expert is not None and modules & set(called[name])}
    for name, place in stored.items():
        matrix = isinstance(place.shape, Matrix)
        if place.stacked or not (matrix or place.name == "embed"):
            continue
        if place.expert is not None and place.ours not in apart:
            continue
        linear = place.ours.startswith("layers.") and place.name != "router"
        for module in sorted(called[name], key=lambda x: x not in modules):
            # The parameter of a Linear is adapted as the module is, but patterns know it by its own name.
            whole = targets.module(module, linear)
            if whole or (place.transposed and targets.parameter(f"{module}.weight")):
                key = module if whole else f"{module}.weight"
                names = _names(module, "lora_{}.weight" if matrix else "lora_embedding_{}")
                yield Pair(module, place, names, targets.rank(key), targets.scale(key))
                break


def _stacked_pairs(config: ModelConfig, targets: Targets, stored: Mapping[str, Place]) -> Iterator[Pair]:
    """Find those of parameters that hold all experts and that the config names."""
    stacked = stacks(stored)
    matrices = {name for name, place in stored.items() if place.transposed} | stacked.keys()
    for name in sorted(stored.keys() - matrices):
        if any(map(targets.parameter, aliases(name))):
            raise MinillmError(
                f"{targets.path}: target_parameters has {name}, which is no matrix (N, K) of this model, nor "
                f"of all its experts; {MERGE}"
            )
    chosen = [name for name in stacked if targets.parameter(name)]
    for i, name in enumerate(chosen):
        block = name.rpartition(".")[0]
        # PEFT wraps a module once for each of its parameters, the last one outermost.
        inner = sum(x.rpartition(".")[0] == block for x in chosen[i + 1 :])
        names = _names(block + ".base_layer" * inner)
        flipped = config.model_type in FLIPPED
        yield Pair(name, stacked[name], names, targets.rank(name), targets.scale(name), flipped)


def _in_rows(pairs: list[Pair]) -> list[Pair]:
    """Give each pair rows of its own in the A and B of its matrix, or of its expert."""
    used: dict[str, dict[int | None, int]] = {}
    result = []
    for pair in pairs:
        rows, e = used.setdefault(pair.place.ours, {}), pair.place.expert
        start = max((end for other, end in rows.items() if e is None or other in (e, None)), default=0)
        rows[e] = start + pair.rank
        result.append(pair._replace(start=start))
    return result


def _values(
    config: ModelConfig,
    targets: Targets,
    stored: Mapping[str, Place],
    tensors: Mapping[str, torch.Tensor],
    parameters: Mapping[str, torch.Tensor],
    adapted: set[str],
    path: Path,
) -> Iterator[Value]:
    """Find what is not A or B: biases, modules_to_save, and trained rows of embeddings.

    Values that are the model's own are left out: PEFT writes those too where an embedding is adapted.
    """
    names = {
        name: name.removeprefix(PREFIX).replace(".base_layer.", ".").replace(TOKENS, ".weight")
        for name in tensors
    }
    live = {alias: place for name, place in stored.items() for alias in aliases(name)}
    if config.tie_word_embeddings:
        embedding = next(place for place in stored.values() if place.ours == "head")
        live |= {base: embedding for base in names.values() if _is_head(base)}
    unknown = {name for name, base in names.items() if base not in live or not name.startswith(PREFIX)}
    weights.refuse(path, "has tensors that this model has not", unknown)
    _check_lists(targets, stored, names, path)
    for name, base in names.items():
        place, tensor, rows = live[base], tensors[name], None
        ours, size = place.ours, place.size
        if name.endswith(TOKENS):
            rows = targets.tokens(base.removesuffix(".weight")) or []
            size = torch.Size((sum(0 <= row < size[0] for row in rows), *size[1:]))
        if not tensor.is_floating_point() or tensor.shape != size:
            problem = f"{name} ({tensor.dtype}, {list(tensor.shape)}; expected {list(size)})"
            weights.refuse(path, "has tensors that do not fit this model or the adapter's config", [problem])
        before = parameters[ours].detach()
        place.put(after := before.clone(), tensor.to(before.device), rows)
        if torch.equal(after, before):
            continue
        if config.tie_word_embeddings and ours == "head" and (rows is None or _is_head(base)):
            raise MinillmError(f"{path}: {name} {TIED}; {MERGE}")
        if ours in adapted:
            raise MinillmError(
                f"{path}: {name} is not the model's own, and {ours} has A and B too; load the model that the "
                "adapter was trained on"
            )
        yield place, tensor, rows


def _is_head(name: str) -> bool:
    return name.removesuffix(".weight").endswith(HEADS)


def _check_lists(targets: Targets, stored: Mapping[str, Place], names: Mapping[str, str], path: Path) -> None:
    """Raise for what modules_to_save and trainable_token_indices name, but the model or the file has not."""
    held = set(names.values())
    for module in targets.settings.get("modules_to_save") or ():
        # Whatever ends so, as PEFT has it, and what is in it.
        saved = [x for x in map(aliases, stored) if any(f"{module}." in name for name in x)]
        if not saved and not any(f"{module}." in other for other in held):
            raise MinillmError(
                f"{targets.path}: modules_to_save has {module}, which is no module of this model; load the "
                "adapter into the model that it was trained on"
            )
        missing = {x[0] for x in saved if not held & set(x)}
        weights.refuse(path, f"lacks tensors of {module}, one of modules_to_save", missing)
    indices = targets.settings.get("trainable_token_indices") or ()
    rows = [own.removesuffix(".weight") for name, own in names.items() if name.endswith(TOKENS)]
    ends = indices if isinstance(indices, dict) else ("",)
    missing = {end or "the embedding" for end in ends if not any(row.endswith(end) for row in rows)}
    weights.refuse(path, "lacks rows that trainable_token_indices names", missing if indices else ())
