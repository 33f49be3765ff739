"""A GPU that is not there: it computes nothing, and notes what a real one would be asked for.

Tensors on it are fake (`torch._subclasses.FakeTensorMode`): they have a shape, a dtype and a device, and no
values. Launches of Triton kernels are recorded and checked instead of run, a CUDA graph holds no more than
the launches it would make, and what the host reads is counted and answered with zeros. It works on a CPU
build of torch, in a process where TRITON_INTERPRET is not set.
"""

from __future__ import annotations

import pkgutil
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import torch
from torch._subclasses import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from triton.runtime.jit import JITFunction

import kernels.gpu
from kernels import aot
from kernels.gpu.launch import INTERPRET, TYPES
from kernels.gpu.variant import Variant

ROOT = Path(__file__).parents[2]
LIBRARY = ("kernels", "minillm", "rl")
aten = torch.ops.aten
# What the host waits for, beside copies: a number, a comparison, and shapes that depend on values.
WAITS = {
    aten._local_scalar_dense.default, aten.equal.default, aten.is_nonzero.default, aten.nonzero.default,
    aten.masked_select.default, aten._unique2.default, aten.unique_dim.default,
    aten.repeat_interleave.Tensor, aten.bincount.default,
}  # fmt: skip
# Ops between a list of numbers and its tensor on the GPU: these alone may touch a tensor of the CPU.
UPLOAD = {aten.lift_fresh.default, aten.detach.default, aten._to_copy.default, aten.copy_.default}
INDEXED = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default}
# Triton's names of what a kernel's pointers point to.
POINTERS = {**TYPES, torch.float64: "fp64", torch.int64: "i64", torch.int32: "i32"}
POINTERS |= {torch.int8: "i8", torch.uint8: "u8"}
# The largest grid that CUDA takes.
GRID = (2**31 - 1, 65535, 65535)
DEVICE, META = torch.device("cuda", 0), torch.device("meta")
OPTIONS = {"num_warps", "num_stages", "enable_fp_fusion"}


class Fault(AssertionError):
    """What a GPU could not do, or would do on the CPU."""


@dataclass(frozen=True)
class Launch:
    """A launch: the kernel's name, the grid, and all arguments by name, tensors as (dtype, shape)."""

    kernel: str
    grid: tuple[int, ...]
    arguments: dict[str, Any]
    options: dict[str, Any]


@dataclass
class Phase:
    """What was asked of the GPU; reads and uploads by the library's line that asked.

    `refused` are those that a CUDA graph cannot hold, `waits` calls of `torch.cuda.synchronize`.
    """

    launches: list[Launch] = field(default_factory=list)
    reads: Counter[str] = field(default_factory=Counter)
    uploads: Counter[str] = field(default_factory=Counter)
    refused: list[str] = field(default_factory=list)
    waits: int = 0
    replays: int = 0


class FakeGpu:
    """The pretend GPU, an H100; `fake_gpu` makes one.

    A computation on the CPU, or with a tensor of the CPU, is a `Fault`, and so are a launch that its kernel
    cannot take and a custom op whose fake implementation says something else than its kernels do. What a CUDA
    graph cannot hold gets a RuntimeError while one is captured, as from CUDA.
    """

    def __init__(self) -> None:
        self.current, self.watched = Phase(), False
        self.variants: dict[Any, list[Variant]] = {}
        self._graph: Graph | None = None
        for module in pkgutil.iter_modules(kernels.gpu.__path__):
            for variant in aot.variants(f"kernels.gpu.{module.name}"):
                self.variants.setdefault(variant.kernel, []).append(variant)

    def names(self) -> set[str]:
        """The names of all kernels."""
        return {_name(kernel) for kernel in self.variants}

    @contextmanager
    def phase(self) -> Iterator[Phase]:
        """What is asked for inside; a model that is made outside may be made on the CPU."""
        self.current, self.watched = Phase(), True
        try:
            yield self.current
        finally:
            self.current, self.watched = Phase(), False

    def read(self) -> None:
        """Count one copy to the host, which waits for it."""
        self._refuse("reads from the GPU")
        self.current.reads[line()] += 1

    def upload(self) -> None:
        """Count one copy to the GPU."""
        self._refuse("copies to the GPU")
        self.current.uploads[line()] += 1

    def synchronize(self, device: Any = None) -> None:
        """`torch.cuda.synchronize`."""
        self._refuse("waits for the GPU")
        self.current.waits += 1

    def _refuse(self, what: str) -> None:
        if self._graph is not None:
            self.current.refused.append(f"{line()} {what}")
            raise RuntimeError(f"operation not permitted when stream is capturing: {line()} {what}")

    @contextmanager
    def capture(self, graph: Graph) -> Iterator[None]:
        """`torch.cuda.graph`."""
        self._graph = graph
        try:
            yield
        finally:
            self._graph = None

    def replay(self, graph: Graph) -> None:
        """`torch.cuda.CUDAGraph.replay`."""
        self.current.launches += graph.launches
        self.current.replays += 1

    def launch(self, kernel: Any, grid: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Check a launch, and note it."""
        name = _name(kernel)
        if kernel not in self.variants:
            raise Fault(f"{name}: no module of kernels.gpu lists it in variants()")
        names = list(kernel.arg_names)
        if len(args) > len(names) or set(names[: len(args)]) & kwargs.keys():
            raise Fault(f"{name}: arguments beyond {names}")
        given = dict(zip(names, args, strict=False)) | {k: v for k, v in kwargs.items() if k in names}
        options = {k: v for k, v in kwargs.items() if k not in names}
        if missing := [n for n in names if n not in given]:
            raise Fault(f"{name}: no argument {', '.join(missing)}")
        if callable(grid):
            grid = grid(given)
        grid = tuple(grid)
        if not 1 <= len(grid) <= 3 or any(
            not isinstance(n, int) or not 1 <= n <= most for n, most in zip(grid, GRID, strict=False)
        ):
            raise Fault(f"{name}: grid {grid}")
        for argument, value in given.items():
            if isinstance(value, torch.Tensor):
                if not isinstance(value, FakeTensor) or value.device.type != "cuda":
                    raise Fault(f"{name}: {argument} is on {value.device}")
                if not value.is_contiguous():
                    raise Fault(f"{name}: {argument} is not contiguous: {value.shape}, {value.stride()}")
        for reason in filter(None, (self._unlisted(kernel, n, v) for n, v in given.items())):
            raise Fault(f"{name}: {reason} in no variant that kernels.aot compiles")
        if unknown := options.keys() - OPTIONS:
            raise Fault(f"{name}: options {sorted(unknown)}")
        shown = {n: (v.dtype, tuple(v.shape)) if isinstance(v, torch.Tensor) else v for n, v in given.items()}
        launches = self.current.launches if self._graph is None else self._graph.launches
        launches.append(Launch(name, grid, shown, options))

    def variant(self, launch: Launch) -> Variant:
        """What Triton compiles for a launch: a number that is 1 is a constant, and 16 may divide others."""
        (kernel,) = (k for k in self.variants if _name(k) == launch.kernel)
        signature, constants = dict[str, str](), dict[str, Any]()
        for name, value in launch.arguments.items():
            if kernel.params[kernel.arg_names.index(name)].is_constexpr or value is None:
                constants[name] = value
            elif isinstance(value, tuple):
                signature[name] = f"*{POINTERS[value[0]]}"
            elif isinstance(value, float):
                signature[name] = "fp32"
            elif value == 1:
                constants[name] = value
            else:
                signature[name] = "i32:16" if value % 16 == 0 else "i32"
        options = {"num_warps": 4, "num_stages": 3, **launch.options}
        return Variant(launch.kernel, kernel, signature, constants, **options)

    def _unlisted(self, kernel: Any, name: str, value: Any) -> str:
        """What of an argument `variants()` does not foresee, or nothing: sizes may be any, kinds may not."""
        variants = self.variants[kernel]
        if kernel.params[kernel.arg_names.index(name)].is_constexpr:
            listed = {v.constants[name] for v in variants}
            free = isinstance(value, int) and not isinstance(value, bool)
            return "" if free or value in listed else f"{name} = {value!r}"
        kinds = {v.signature[name].partition(":")[0] for v in variants if name in v.signature}
        if isinstance(value, torch.Tensor):
            return "" if f"*{POINTERS[value.dtype]}" in kinds else f"{name} of {value.dtype}"
        known = value is None or ("fp32" if isinstance(value, float) else "i32") in kinds
        return "" if known else f"{name} = {value!r}"


class Graph:
    """Stands for `torch.cuda.CUDAGraph`."""

    def __init__(self, gpu: FakeGpu) -> None:
        self.launches: list[Launch] = []
        self.replay = partial(gpu.replay, self)


class _Watch(TorchDispatchMode):
    """Sees every op before fake tensors do."""

    def __init__(self, gpu: FakeGpu) -> None:
        super().__init__()
        self.gpu = gpu

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.prim.device.default:
            # C++ is told of another device: it looks for CUDA's streams, which a CPU build has none of.
            return META
        if kwargs.get("device") == META:
            kwargs = {**kwargs, "device": DEVICE}
        if func.namespace == "minillm":
            return self._kernels(func, args, kwargs)
        devices = {x.device.type for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)}
        if func in WAITS and "cuda" in devices:
            self.gpu.read()
            if func is aten._local_scalar_dense.default:
                return _nothing(args[0].dtype)
            if func in (aten.equal.default, aten.is_nonzero.default):
                return True
            raise Fault(f"{line()}: the shape of what {func} returns depends on values")
        if func in INDEXED:
            args = (args[0], [self._index(x) for x in args[1]], *args[2:])
        out = func(*args, **kwargs)
        if self.gpu.watched:
            made = {x.device.type for x in tree_leaves(out) if isinstance(x, torch.Tensor)}
            if func in (aten._to_copy.default, aten.copy_.default):
                source = args[func is aten.copy_.default].device.type
                target = out.device.type
                if (source, target) == ("cpu", "cuda"):
                    self.gpu.upload()
                elif (source, target) == ("cuda", "cpu"):
                    self.gpu.read()
            elif "cpu" in devices | made and func not in UPLOAD:
                raise Fault(f"{line()}: {func} of tensors on the CPU")
        return out

    def _index(self, x: torch.Tensor | None) -> torch.Tensor | None:
        """A list of places as torch puts it on the GPU."""
        if x is None or (isinstance(x, FakeTensor) and x.device.type == "cuda"):
            return x
        self.gpu.upload()
        return torch.empty(x.shape, dtype=x.dtype, device=DEVICE)

    def _kernels(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A custom op by its kernels, whose launches are to be seen; and whether its fake says the same."""
        with self:
            out = func._op_dk(torch._C.DispatchKey.CompositeExplicitAutograd, *args, **kwargs)
        expected = func(*args, **kwargs)
        for mine, fake in zip(tree_leaves(out), tree_leaves(expected), strict=True):
            facts = [(tuple(x.shape), x.dtype, x.device, x.stride()) for x in (mine, fake)]
            if facts[0] != facts[1]:
                raise Fault(f"{func} returns {facts[0]}, and its fake {facts[1]}")
        return out


def _nothing(dtype: torch.dtype) -> bool | int | float:
    return True if dtype == torch.bool else 0.0 if dtype.is_floating_point else 0


def _name(kernel: Any) -> str:
    return f"{kernel.fn.__module__.rpartition('.')[2]}.{kernel.fn.__name__}"


def line() -> str:
    """The library's line that is at work."""
    frame: Any = sys._getframe(1)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(ROOT) and path.relative_to(ROOT).parts[0] in LIBRARY:
            return f"{path.relative_to(ROOT)}:{frame.f_lineno} {frame.f_code.co_name}"
        frame = frame.f_back
    return "a test"


@contextmanager
def fake_gpu() -> Iterator[FakeGpu]:
    """The device "cuda" is a `FakeGpu` inside; RuntimeError under TRITON_INTERPRET: no launches."""
    if INTERPRET:
        raise RuntimeError("TRITON_INTERPRET is set: its kernels are no launches")
    gpu = FakeGpu()

    def run(kernel: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> None:
        gpu.launch(kernel, grid, args, kwargs)

    def tolist(x: FakeTensor) -> Any:
        if x.device.type == "cuda":
            gpu.read()
        zero = _nothing(x.dtype)

        def nest(shape: tuple[int, ...]) -> Any:
            return [nest(shape[1:]) for _ in range(shape[0])] if shape else zero

        return nest(tuple(x.shape))

    def data_ptr(x: FakeTensor) -> int:
        return x.untyped_storage()._cdata + x.storage_offset() * x.itemsize

    def device(_: Any) -> AbstractContextManager[None]:
        return nullcontext()

    properties = SimpleNamespace(multi_processor_count=132, name="NVIDIA H100", major=9, minor=0)
    with ExitStack() as stack:
        for owner, name, value in (
            (JITFunction, "run", run),
            (FakeTensor, "tolist", tolist),
            (FakeTensor, "data_ptr", data_ptr),
            (torch.cuda, "device", device),
            (torch.cuda, "get_device_capability", lambda device=None: (9, 0)),
            (torch.cuda, "get_device_properties", lambda device=None: properties),
            (torch.cuda, "mem_get_info", lambda device=None: (70 << 30, 80 << 30)),
            (torch.cuda, "synchronize", gpu.synchronize),
            (torch.cuda, "CUDAGraph", partial(Graph, gpu)),
            (torch.cuda, "graph", gpu.capture),
        ):
            stack.enter_context(patch.object(owner, name, value))
        stack.enter_context(FakeTensorMode())
        stack.enter_context(_Watch(gpu))
        yield gpu
