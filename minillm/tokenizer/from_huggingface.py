"""A tokenizer of transformers or `tokenizers`, as it is in memory -> what a `Tokenizer` is made of."""

from __future__ import annotations

import reprlib
import sys
import tempfile
from pathlib import Path
from typing import Any

import tokenizers

from minillm.errors import MinillmError
from minillm.tokenizer.backends import Backend, JsonBackend
from minillm.tokenizer.chat_templates import DEFAULT, ChatTemplates
from minillm.tokenizer.files import load_backend
from minillm.tokenizer.settings import read_json, special_tokens

# What tokenizers that have been read differently were seen to differ in.
_PROBES = (
    "Hello  world! It's 3.14, isn 't it ? No .\n\n\tdef f(x):\n    return x",
    " ÀÉ e\u0301 ß Ω 你好 \uff46\uff55 👋🏽 \u00a0\u200b\ufffd </s><unk> <|end|>  ",
)
_ROLES = ("padding_side", "truncation_side", "model_max_length")


def read_hugging_face(tokenizer: Any) -> dict[str, Any]:
    """Read the arguments of `Tokenizer` off a tokenizer of transformers or `tokenizers`.

    transformers is not imported: where it has not been, nothing can be one of its objects.

    Raises:
        MinillmError: it is neither, cannot be stored, or encodes otherwise than what it stores.
    """
    if isinstance(tokenizer, tokenizers.Tokenizer):
        return {"backend": JsonBackend(_copied(tokenizer))}
    transformers = sys.modules.get("transformers")
    if transformers is None or not isinstance(tokenizer, transformers.PreTrainedTokenizerBase):
        hint = "; give its .tokenizer" if hasattr(tokenizer, "tokenizer") else ""
        raise MinillmError(
            "a tokenizer must be a folder, a hub id, a minillm.Tokenizer, one of transformers or a "
            f"tokenizers.Tokenizer, got {reprlib.repr(tokenizer)}{hint}"
        )
    templates = tokenizer.chat_template
    backend = _backend(tokenizer)
    _check_equal(tokenizer, backend)
    roles = {role: str(text) for role, text in tokenizer.special_tokens_map.items() if isinstance(text, str)}
    return {
        "backend": backend,
        "special_tokens": roles,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_ids": () if tokenizer.eos_token_id is None else (tokenizer.eos_token_id,),
        "chat_template": ChatTemplates(templates if isinstance(templates, dict) else _only(templates)),
        "settings": {name: getattr(tokenizer, name, None) for name in _ROLES},
        "name_or_path": str(tokenizer.name_or_path),
        "extra_special_tokens": [t for t in tokenizer.all_special_tokens if t not in roles.values()],
    }


def _only(template: str | None) -> dict[str, str]:
    return {} if template is None else {DEFAULT: template}


def _copied(tokenizer: tokenizers.Tokenizer) -> tokenizers.Tokenizer:
    try:
        copy = tokenizers.Tokenizer.from_str(tokenizer.to_str())
    # The library raises bare exceptions.
    except Exception as error:
        raise MinillmError(
            f"the tokenizer cannot be stored ({error}); only parts of the library itself can, none in Python"
        ) from error
    copy.encode_special_tokens = tokenizer.encode_special_tokens
    return copy


def _backend(tokenizer: Any) -> Backend:
    """Copy what encodes and decodes; what transformers does in Python is read from the files it stores."""
    inner = getattr(tokenizer, "backend_tokenizer", None)
    if isinstance(inner, tokenizers.Tokenizer):
        copy = _copied(inner)
        copy.encode_special_tokens = bool(tokenizer.split_special_tokens)
        return JsonBackend(copy)
    with tempfile.TemporaryDirectory() as folder:
        try:
            tokenizer.save_pretrained(folder)
            settings = read_json(Path(folder) / "tokenizer_config.json")
            roles = special_tokens(Path(folder), settings)
            return load_backend(Path(folder), settings, roles, None)[0]
        except Exception as error:  # of its class's own code
            raise MinillmError(
                f"the tokenizer, a {type(tokenizer).__name__}, is run by Python code of transformers and its "
                f"files are not read here ({error}); give one whose is_fast is True"
            ) from error


def _check_equal(tokenizer: Any, backend: Backend) -> None:
    """Raise `MinillmError` where a tokenizer's own class does something else than what was read of it."""
    name = f"the tokenizer, a {type(tokenizer).__name__}, is read otherwise than it works"
    special = tokenizer.all_special_tokens
    for text in (*_PROBES, " a".join(["", *special, *tokenizer.get_added_vocab(), ""])):
        for flag in (True, False):
            ids, found = tokenizer.encode(text, add_special_tokens=flag), backend.encode(text, flag)
            if ids != found:
                raise MinillmError(
                    f"{name}: {reprlib.repr(text)} is {reprlib.repr(ids)} to it, {reprlib.repr(found)} here"
                )
            shown, here = tokenizer.decode(ids, skip_special_tokens=flag), backend.decode(ids, flag)
            if shown != here:
                raise MinillmError(f"{name}: its decoded texts differ, such as {shown!r} from {here!r}")
