"""Arguments of Hugging Face's tokenizers: what they may be, and what of them is not supported."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from minillm.errors import MinillmError

SIDES = ("right", "left")
SIDE_NAMES = ("padding_side", "truncation_side")

# Arguments of its methods that are not supported, with the values that ask for nothing.
UNSUPPORTED: dict[str, tuple[Any, ...]] = {
    "text_pair": (None,), "pair": (None,), "text_target": (None,), "text_pair_target": (None,),
    "stride": (0,), "is_split_into_words": (False,), "return_token_type_ids": (None, False),
    "return_overflowing_tokens": (False,), "return_special_tokens_mask": (False,),
    "return_offsets_mapping": (False,), "return_length": (False,), "split_special_tokens": (None, False),
    "verbose": (True, False), "tokenizer_kwargs": (None, {}), "clean_up_tokenization_spaces": (None, False),
    "return_assistant_tokens_mask": (False,), "sanitize_control_tokens": (False,),
    "push_to_hub": (False,), "filename_prefix": (None,), "legacy_format": (None, False),
}  # fmt: skip
# The same of `from_pretrained`; what only says how a tokenizer is built changes no ids.
_ANY = (None, True, False)
OF_FROM_PRETRAINED: dict[str, tuple[Any, ...]] = {
    "use_fast": _ANY, "trust_remote_code": _ANY, "from_slow": _ANY, "legacy": _ANY, "resume_download": _ANY,
    "subfolder": (None, ""), "split_special_tokens": (None, False), "clean_up_tokenization_spaces": _ANY,
    **dict.fromkeys(("add_prefix_space", "add_bos_token", "add_eos_token", "config", "gguf_file"), (None,)),
    **dict.fromkeys(("code_revision", "proxies", "tokenizer_file", "tokenizer_type"), (None,)),
}  # fmt: skip
# Its options that say where and what to fetch.
FETCHING = ("revision", "cache_dir", "token", "local_files_only", "force_download")


class BatchEncoding(dict[str, Any]):
    """What a tokenizer makes of texts: `input_ids` and `attention_mask`, by key or by attribute."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def to(self, device: torch.device | str | int, *, non_blocking: bool = False) -> BatchEncoding:
        """Move the tensors to a device, and return this encoding; what are no tensors stay."""
        for name, value in self.items():
            if isinstance(value, torch.Tensor):
                self[name] = value.to(device, non_blocking=non_blocking)
        return self


def refuse(
    method: str, arguments: Mapping[str, Any], unsupported: Mapping[str, tuple[Any, ...]] = UNSUPPORTED
) -> None:
    """Raise `MinillmError` for an argument that is not supported, unless its value asks for nothing."""
    for name, value in arguments.items():
        if name not in unsupported:
            raise MinillmError(f"{method} has no argument {name!r}; leave it out")
        if not any(value is one or (value == one and type(value) is type(one)) for one in unsupported[name]):
            raise MinillmError(
                f"{method}({name}={reprlib.repr(value)}): Hugging Face has this argument, minillm does not "
                "support it; leave it out"
            )


def well_formed(text: str) -> str:
    """Return a text with U+FFFD for half a surrogate pair, which no UTF-8 can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def as_ids(ids: Any) -> Any:
    """Return token ids as an int, a list of them, or a list of lists; arrays and tensors become lists.

    Raises:
        MinillmError: they are something else.
    """
    if isinstance(ids, torch.Tensor | np.ndarray | np.generic):
        ids = ids.tolist()
    if isinstance(ids, int):
        return ids
    if isinstance(ids, str | bytes | Mapping) or not isinstance(ids, Iterable):
        raise MinillmError(f"token ids must be whole numbers, got {reprlib.repr(ids)}; give a list of them")
    ids = ids if isinstance(ids, list) else list(ids)
    return ids if all(type(i) is int for i in ids) else [as_ids(i) for i in ids]


def as_texts(texts: str | Sequence[str]) -> list[str]:
    """Return one text or several as a list."""
    listed = [texts] if isinstance(texts, str) else texts
    if not isinstance(listed, list | tuple) or not all(isinstance(text, str) for text in listed):
        raise MinillmError(f"text must be a text or a list of them, got {reprlib.repr(texts)}")
    return list(listed)


def strategy(asked: Any, yes: str, no: str) -> Any:
    """Return the name of what is asked for; Hugging Face has enumerations of them too."""
    return (yes if asked else no) if isinstance(asked, bool) else getattr(asked, "value", asked)


def check_side(name: str, side: object) -> None:
    """Raise `MinillmError` for a side that is none."""
    if side not in SIDES:
        raise MinillmError(f"{name} must be 'right' or 'left', got {side!r}")


def check_tensors(kind: object) -> None:
    """Raise `MinillmError` for a kind of tensors that is not supported."""
    if kind not in (None, "pt", "np"):
        raise MinillmError(f"return_tensors must be 'pt' (torch), 'np' (numpy) or None, got {kind!r}")


def read_multiple(of: int | None) -> int:
    """Return what a length is to be a multiple of; raise `MinillmError` for no such number."""
    if of is not None and (type(of) is not int or of < 1):
        raise MinillmError(f"pad_to_multiple_of must be a whole number, at least 1, got {of!r}")
    return of or 1


def padded(row: list[int], width: int, filler: int, side: str) -> list[int]:
    """Fill a row up to a width."""
    padding = [filler] * (width - len(row))
    return [*padding, *row] if side == "left" else [*row, *padding]


def as_tensor(rows: list[list[int]], kind: str) -> Any:
    """Make a tensor of rows; raise `MinillmError` where they differ in length."""
    if len({len(row) for row in rows if isinstance(row, list)}) > 1:
        raise MinillmError(
            "texts of several lengths are no tensor; give padding=True, or padding='max_length' with "
            "truncation=True"
        )
    return torch.tensor(rows, dtype=torch.int64) if kind == "pt" else np.array(rows, dtype=np.int64)
