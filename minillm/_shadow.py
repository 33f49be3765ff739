"""Says so where another package hides one of ours.

`kernels`, `rl` and `arc` are import names of other distributions too, and a folder of one's own may bear
them. What then fails is an import deep inside, with a message that names no culprit. So our packages are
looked for by name, before the first import from them.

A package is ours if it lies beside `minillm` and its `__init__.py` has the line `__minillm__ = True`. That
text is read and not run: it may be anybody's code.
"""

from __future__ import annotations

import warnings
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path

_MARK = "__minillm__ = True"
_HOME = Path(__file__).resolve().parents[1]


def require_own(name: str) -> None:
    """Raise `ImportError`, in one sentence, unless `import name` finds our package."""
    if sentence := shadow(name):
        raise ImportError(sentence, name=name)


def warn_unless_own(name: str) -> None:
    """Warn in that sentence: for packages that the caller can do without."""
    if sentence := shadow(name):
        # Not an ImportWarning, which Python hides unless asked.
        warnings.warn(sentence, UserWarning, stacklevel=3)


def shadow(name: str) -> str | None:
    """Say what hides our package, and the remedy, in one sentence; None where nothing does."""
    spec = _spec(name)
    if spec is None:
        return f"minillm's package `{name}` is missing from {_HOME}: install minillm again"
    folder = Path(next(iter(spec.submodule_search_locations or [spec.origin or ""]))).resolve()
    if folder == _HOME / name and _is_marked(spec):
        return None
    sentence = f"minillm's package `{name}` is hidden by {spec.origin or folder}"
    if owner := _distribution_at(folder):
        remedy = f"uninstall `{owner}` and install minillm again, or use an environment without it"
        return f"{sentence} of the distribution `{owner}`: {remedy}"
    if folder == _HOME / name:
        return f"{sentence}, which is not minillm's own file: install minillm again"
    return f"{sentence}: rename that, or put {_HOME} before it on sys.path"


def _spec(name: str) -> ModuleSpec | None:
    try:
        return find_spec(name)
    except ValueError:  # a module made by hand, without a spec
        return ModuleSpec(name, None, origin="a module made at run time")


def _is_marked(spec: ModuleSpec) -> bool:
    get_source = getattr(spec.loader, "get_source", None)  # a folder without __init__.py has none
    source = get_source(spec.name) if get_source else None
    return source is not None and _MARK in source.splitlines()


def _distribution_at(path: Path) -> str | None:
    """Name the distribution other than ours that installed this folder, or file."""
    from importlib.metadata import distributions  # most imports of minillm need no reader of metadata

    for owner in distributions():
        here = Path(str(owner.locate_file(path.name))).resolve() == path
        if here and owner.name != "minillm-rl" and any(f.parts[0] == path.name for f in owner.files or ()):
            return owner.name
    return None
