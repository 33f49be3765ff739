"""Imports run one way, and in no circle; devices are told apart in one place; functions stay readable.

All imports are read, those inside functions and under `TYPE_CHECKING` too. Importing a submodule counts as
that submodule, not as the `__init__` of its package; importing a name of a package counts as its `__init__`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import chain
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIBRARY = ("kernels", "minillm", "rl", "arc")
PACKAGES = (*LIBRARY, "benchmarks")

# From the bottom: each imports those before it. Those in one tuple do not import each other.
Order = tuple[str | tuple[str, ...], ...]
ORDERS: dict[str, Order] = {
    "": PACKAGES,
    "kernels": (
        "__init__",
        ("knobs", "checks", "panels", "cache"),
        "tiling",
        "blockwise",
        "reference",
        ("cpu", "gpu"),
        ("backend", "aot"),
        "library",
        "ops",
    ),
    "minillm": (
        ("_shadow", "errors", "apart"),
        "tokenizer",
        "api",
        "model",
        "checkpoint",
        "adapters",
        "engine",
        ("arguments", "inputs", "parity", "progress", "worker"),
        "request_builder",
        "llm_engine",
        ("lora", "llm"),
        ("engine_thread", "engine_args"),
        "async_llm",
        "__init__",
        ("serve", "harness"),
        "cli_options",
        "cli_serve",
        "cli",
        ("__main__", "examples"),
    ),
}
# The programs that join arc to rl and minillm; the rest of arc knows neither, nor torch.
ARC_PROGRAMS = (
    *("arc.train", "arc.train_options", "arc.training"),
    *("arc.evaluate", "arc.evaluate_options", "arc.evaluating", "arc.sampling"),
    *("arc.show", "arc.check", "arc.atlas"),
    *("arc.site.build", "arc.site.findings", "arc.site.records", "arc.site.__main__"),
)
NOT_IN_ARC = ("torch", "kernels", "minillm", "rl", *ARC_PROGRAMS)

# Where code may ask which device a tensor is on: one place, and a backend's own memory and launches.
DEVICE_FILES = (
    "kernels/backend.py",
    "kernels/cpu/memory.py",
    "kernels/gpu/launch.py",
    "kernels/gpu/recording.py",
)

MOST_LINES, MOST_PARAMETERS = 80, 10
TRITON = "a Triton kernel is launched with each pointer, size and constant by itself"
OPERATION = "tensors and knobs of one operation, each by itself for torch.library"
# Functions that have more parameters, by file and name, and why.
MANY_PARAMETERS: dict[str, str] = {
    "kernels/gpu/attention.py:attention_forward": TRITON,
    "kernels/gpu/attention_backward.py:attention_dkdv": TRITON,
    "kernels/gpu/attention_backward.py:attention_dq": TRITON,
    "kernels/gpu/matmul.py:_gradient_w": TRITON,
    "kernels/gpu/matmul.py:_matmul": TRITON,
    "kernels/gpu/norm.py:_add_norm": TRITON,
    "kernels/gpu/norm.py:_gradient": TRITON,
    "kernels/gpu/quantized.py:_quantized_matmul": TRITON,
    "kernels/gpu/rope.py:_rope_store": TRITON,
    "kernels/ops/attention.py:_attention_gradients": OPERATION,
    "kernels/ops/rope_store_attention.py:_RopeStoreAttention.forward": OPERATION,
    "minillm/harness.py:MinillmLM.__init__": "the harness's options, under its own models' names",
    "minillm/llm.py:LLM.__init__": "vLLM's options, under vLLM's names",
    "minillm/tokenizer/huggingface.py:HuggingFaceMethods.__call__": "Hugging Face's options, under its names",
}

Graph = dict[str, set[str]]


# ---------------------------------------------------------------- imports


def sources(root: Path, packages: tuple[str, ...] = PACKAGES) -> Iterator[tuple[str, ast.Module]]:
    """Read each file of the packages, but for golden solutions: path under `root`, and syntax tree."""
    for package in packages:
        for path in sorted((root / package).rglob("*.py")):
            if "golden" not in path.parts:
                yield path.relative_to(root).as_posix(), parse(path.read_text())


parse = cache(ast.parse)


def module_of(path: str) -> str:
    """Name the module in a file: "minillm/api/__init__.py" is "minillm.api"."""
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def imports(root: Path) -> Graph:
    """Collect what each module imports: our modules by name, of others the package."""
    trees = dict(sources(root))
    ours = {module_of(path) for path in trees}
    graph: Graph = {}
    for path, tree in trees.items():
        module = module_of(path)
        names: list[str] = []
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                names += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                package = path.split("/")[: -node.level] if node.level else []
                base = ".".join([*package, *([node.module] if node.module else [])])
                names += [f"{base}.{alias.name}" for alias in node.names]
        graph[module] = {_resolved(name, ours) for name in names} - {module}
    return graph


def _resolved(name: str, ours: set[str]) -> str:
    """The longest beginning of a dotted name that is a module of ours, or else its first word."""
    parts = name.split(".")
    beginnings = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
    return next((beginning for beginning in beginnings if beginning in ours), parts[0])


def circles(graph: Mapping[str, set[str]]) -> Iterator[str]:
    """Find circles, at least one in each knot of modules that import each other: "a -> b -> a"."""
    done: set[str] = set()

    def visit(module: str, path: list[str]) -> Iterator[str]:
        if module in path:
            circle = path[path.index(module) :]
            first = circle.index(min(circle))
            yield " -> ".join([*circle[first:], *circle[: first + 1]])
        elif module not in done:
            for imported in sorted(graph.get(module, ())):
                yield from visit(imported, [*path, module])
            done.add(module)

    for module in sorted(graph):
        yield from visit(module, [])


def wrong_arrows(graph: Mapping[str, set[str]]) -> Iterator[str]:
    """Find imports against an order, and modules that have no place in theirs."""
    for package, order in ORDERS.items():
        levels = {
            name: level
            for level, names in enumerate(order)
            for name in ((names,) if isinstance(names, str) else names)
        }
        for module in sorted(graph):
            if (place := _place(module, package)) is None:
                continue
            if place not in levels:
                yield f"{module} has no place in the order of {package or 'packages'}"
                continue
            for imported in sorted(graph[module]):
                other = _place(imported, package)
                if other in levels and other != place and levels[other] >= levels[place]:
                    yield f"{module} -> {imported}"
    for module in sorted(graph):
        if module.split(".")[0] == "arc" and module not in ARC_PROGRAMS:
            for imported in sorted(graph[module]):
                if imported in NOT_IN_ARC or imported.split(".")[0] in NOT_IN_ARC:
                    yield f"{module} -> {imported}"


def _place(module: str, package: str) -> str | None:
    """What of `package` holds the module: its own `__init__`, a file or a sub-package; None elsewhere."""
    if not package:
        return module.split(".")[0]
    first, _, rest = module.partition(".")
    return (rest.split(".")[0] or "__init__") if first == package else None


def check_imports(root: Path) -> list[str]:
    """Report all circles and all imports that run the wrong way."""
    graph = imports(root)
    found = chain((f"circle: {circle}" for circle in circles(graph)), wrong_arrows(graph))
    return list(dict.fromkeys(found))


def test_imports_run_one_way() -> None:
    graph = imports(ROOT)
    assert {module.split(".")[0] for module in graph} == set(PACKAGES)
    # It is these imports that are read: one of each kind.
    assert {"minillm.engine.engine", "minillm.checkpoint.read_config"} <= graph["minillm.llm"]
    assert "minillm.llm" in graph["minillm"] and "torch" in graph["minillm.llm"]
    assert check_imports(ROOT) == []


CLEAN = {
    "kernels/__init__.py": "",
    "kernels/knobs.py": "import torch",
    "kernels/tiling.py": "from kernels import knobs",
    "kernels/cpu/ops.py": "from kernels.tiling import Tiles\nfrom .. import knobs\n",
    "kernels/gpu/ops.py": "from kernels import tiling",
    "kernels/backend.py": "from kernels.cpu import ops as cpu_ops\nimport kernels.gpu.ops",
    "minillm/__init__.py": "from minillm.llm import LLM",
    "minillm/errors.py": "class MinillmError(Exception): ...",
    "minillm/model/__init__.py": "",
    "minillm/model/config.py": "from minillm.errors import MinillmError\nfrom kernels.backend import pick",
    "minillm/engine/engine.py": "import minillm.model.config",
    "minillm/llm.py": "def run():\n    from minillm.engine.engine import Engine",
    "minillm/serve/server.py": "from minillm import LLM",
    "rl/__init__.py": "",
    "rl/trainer.py": "from minillm import LLM\nfrom minillm.model import config",
    "arc/__init__.py": "",
    "arc/tasks.py": "import json",
    "arc/train.py": "import torch\nfrom rl.trainer import Trainer\nfrom arc.tasks import load",
    "arc/golden/007bbfb7.py": "import benchmarks.parity",
    "benchmarks/parity.py": "from arc.train import train\nfrom kernels.cpu import ops",
}
# Line added to a file of the clean packages -> what is reported, in any order.
PLANTED = {
    ("kernels/knobs.py", "from kernels.cpu.ops import matmul"): (
        "circle: kernels.cpu.ops -> kernels.knobs -> kernels.cpu.ops",
        "kernels.knobs -> kernels.cpu.ops",
    ),
    ("kernels/knobs.py", "import minillm.errors"): ("kernels.knobs -> minillm.errors",),
    ("kernels/cpu/ops.py", "from kernels.gpu import ops"): ("kernels.cpu.ops -> kernels.gpu.ops",),
    ("kernels/gpu/ops.py", "def f():\n    from ..backend import pick"): (
        "circle: kernels.backend -> kernels.gpu.ops -> kernels.backend",
        "kernels.gpu.ops -> kernels.backend",
    ),
    ("minillm/model/config.py", "if TYPE_CHECKING:\n    from minillm.engine.engine import Engine"): (
        "circle: minillm.engine.engine -> minillm.model.config -> minillm.engine.engine",
        "minillm.model.config -> minillm.engine.engine",
    ),
    ("minillm/errors.py", "from minillm import LLM"): (
        "circle: minillm -> minillm.llm -> minillm.engine.engine -> minillm.model.config -> minillm.errors"
        " -> minillm",
        "minillm.errors -> minillm",
    ),
    ("minillm/engine/engine.py", "from rl import trainer"): (
        "circle: minillm -> minillm.llm -> minillm.engine.engine -> rl.trainer -> minillm",
        "minillm.engine.engine -> rl.trainer",
    ),
    ("minillm/serve/server.py", "import minillm.cli"): (),  # no such module: it counts as minillm itself
    ("rl/trainer.py", "from arc.tasks import load"): ("rl.trainer -> arc.tasks",),
    ("rl/trainer.py", "import benchmarks.parity"): (
        "circle: arc.train -> rl.trainer -> benchmarks.parity -> arc.train",
        "rl.trainer -> benchmarks.parity",
    ),
    ("arc/tasks.py", "import torch.nn"): ("arc.tasks -> torch",),
    ("arc/tasks.py", "from rl import trainer"): ("arc.tasks -> rl.trainer",),
    ("arc/__init__.py", "from arc.train import train"): ("arc -> arc.train",),
    ("kernels/extra.py", "import json"): ("kernels.extra has no place in the order of kernels",),
}


@pytest.mark.parametrize(("file", "line"), PLANTED)
def test_planted_imports_are_reported(file: str, line: str, tmp_path: Path) -> None:
    for name, text in CLEAN.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert check_imports(tmp_path) == []
    with (tmp_path / file).open("a") as planted:
        planted.write(line + "\n")
    assert sorted(check_imports(tmp_path)) == sorted(PLANTED[file, line])


# ---------------------------------------------------------------- devices


def device_tests(tree: ast.AST) -> list[int]:
    """Find lines that ask for `is_cuda`, `.device.type` or `device.type`."""

    def asks(node: ast.AST) -> bool:
        if not isinstance(node, ast.Attribute):
            return False
        of = node.value
        device = (isinstance(of, ast.Attribute) and of.attr == "device") or (
            isinstance(of, ast.Name) and of.id == "device"
        )
        return node.attr == "is_cuda" or (node.attr == "type" and device)

    return sorted({node.lineno for node in ast.walk(tree) if isinstance(node, ast.Attribute) and asks(node)})


def test_devices_are_told_apart_in_one_place() -> None:
    planted = "x.is_cuda\nif x.device.type == 'cpu': ...\ndevice.type\nx.device\ntype(device)\nx.type()"
    assert device_tests(ast.parse(planted)) == [1, 2, 3]
    found = {path: lines for path, tree in sources(ROOT) if (lines := device_tests(tree))}
    assert {path: lines for path, lines in found.items() if path not in DEVICE_FILES} == {}
    assert "kernels/backend.py" in found


# ---------------------------------------------------------------- functions


def functions(tree: ast.AST, outer: str = "") -> Iterator[tuple[str, int, int]]:
    """Measure all functions: dotted name, lines without decorators, parameters without self."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            name = f"{outer}.{node.name}" if outer else node.name
            if not isinstance(node, ast.ClassDef):
                arguments = node.args
                every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
                every += [x for x in (arguments.vararg, arguments.kwarg) if x is not None]
                count = len(every) - (bool(every) and every[0].arg in ("self", "cls"))
                assert node.end_lineno is not None
                yield name, node.end_lineno - node.lineno + 1, count
            yield from functions(node, name)
        else:
            yield from functions(node, outer)


def test_no_function_is_long_or_has_many_parameters() -> None:
    body = "\n".join(["class A:", "    def f(self, a, b, *c, d, **e):", *["        pass"] * 80])
    assert list(functions(ast.parse(body))) == [("A.f", 81, 5)]
    long, wide = {}, {}
    for path, tree in sources(ROOT, LIBRARY):
        for name, lines, parameters in functions(tree):
            if lines > MOST_LINES:
                long[f"{path}:{name}"] = lines
            if parameters > MOST_PARAMETERS:
                wide[f"{path}:{name}"] = parameters
    assert long == {}
    assert wide.keys() == MANY_PARAMETERS.keys(), wide


def test_kernels_are_typed() -> None:
    """No function of kernels/ hides from mypy that what it returns has no type."""
    ignores = {
        path.name: count
        for path in (ROOT / "kernels").rglob("*.py")
        if (count := len(re.findall(r"no-any-return", path.read_text())))
    }
    assert ignores == {}
