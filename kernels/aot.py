"""Compile every Triton kernel ahead of time, with no GPU, and report what each takes of its target.

Every module of kernels.gpu lists the variants of its kernels: dtypes, input precisions, block sizes, as
launches choose them for Qwen3-0.6B and 4B. Each is compiled for every target that it is for, down to machine
code. The exit status is 1, and the offenders are named, where a variant

    does not compile for one of its targets,
    needs more shared memory than a block of the target can have, or
    spills registers in a default configuration on sm_90, the reference GPU.

    python -m kernels.aot                                   # everything: some minutes on two cores
    python -m kernels.aot --targets sm_90 --filter matmul   # what is being worked on
    python -m kernels.aot --problems                        # only the offenders' rows

Triton keeps what it compiled (TRITON_CACHE_DIR, else ~/.triton/cache): a second run takes seconds.
"""

from __future__ import annotations

import importlib
import io
import os
import pkgutil
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass, field
from functools import cache
from multiprocessing import get_context
from typing import Any

import tyro
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from kernels.gpu.variant import REFERENCE, Variant

# Bytes of shared memory that one block can have: CUDA's programming guide, and CDNA3's.
SHARED_MEMORY = {"sm_80": 166912, "sm_90": 232448, "sm_100": 232448, "gfx942": 65536}


@dataclass(frozen=True)
class Config:
    """Options.

    Attributes:
        targets: what to compile for: sm_80 (A100), sm_90 (H100, H200), sm_100 (B200), gfx942 (MI300X).
        filter: only variants whose label contains this text.
        package: the package whose modules are asked for their `variants()`.
        processes: variants compiled at a time; by default, one a core.
        problems: show only the variants that fail.
    """

    targets: tuple[str, ...] = tuple(SHARED_MEMORY)
    filter: str = ""
    package: str = "kernels.gpu"
    processes: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    problems: bool = False


@dataclass(frozen=True)
class Job:
    """A variant, found again by another process: the index-th of a module's, for a target."""

    module: str
    index: int
    label: str
    default: bool
    target: str


@dataclass(frozen=True)
class Usage:
    """What a compiled variant takes: bytes a block, registers and bytes a thread; or why there is none."""

    shared: int = 0
    registers: int = 0
    spilled: int = 0
    error: str = ""


@cache
def variants(module: str) -> list[Variant]:
    """List the variants of a module; none where it has no kernels."""
    return list(getattr(importlib.import_module(module), "variants", list)())


def jobs(config: Config) -> list[Job]:
    """List every variant of every module of the package for each of its targets."""
    package = importlib.import_module(config.package)
    names = [f"{config.package}.{module.name}" for module in pkgutil.iter_modules(package.__path__)]
    return [
        Job(name, i, variant.label, variant.default, target)
        for name in names
        for i, variant in enumerate(variants(name))
        if config.filter in variant.label
        for target in config.targets
        if variant.targets is None or target in variant.targets
    ]


def compile_variant(variant: Variant, target: str) -> Usage:
    """Compile for a target ("sm_90", "gfx942"); an error of the compiler is returned, not raised."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    kernel = variant.kernel
    if target.startswith("sm_"):
        gpu = GPUTarget("cuda", int(target.removeprefix("sm_")), 32)
    else:
        gpu = GPUTarget("hip", target, 64)
    types = {name: kind.partition(":") for name, kind in variant.signature.items()}
    signature = {name: types[name][0] if name in types else "constexpr" for name in kernel.arg_names}
    # As a launch finds them: torch's memory starts at multiples of 16 and more.
    aligned = {name for name, (kind, _, hint) in types.items() if kind.startswith("*") or hint == "16"}
    attrs = {(i,): [["tt.divisibility", 16]] for i, name in enumerate(kernel.arg_names) if name in aligned}
    source = ASTSource(kernel, signature, dict(variant.constants), attrs)
    options = {name: getattr(variant, name) for name in ("num_warps", "num_stages", "enable_fp_fusion")}
    try:
        # Triton prints the whole program where the assembler refuses it.
        with redirect_stdout(io.StringIO()):
            compiled = triton.compile(source, target=gpu, options=options)
    except Exception as error:  # the compiler's own, of many kinds
        lines = [line for line in str(error).splitlines() if line.strip()] or [""]
        return Usage(error=f"{type(error).__name__}: {lines[-1].strip()}")
    registers, spilled = (_of_cubin if gpu.backend == "cuda" else _of_amdgcn)(compiled.asm)
    return Usage(int(compiled.metadata.shared), registers, spilled)


def _of_cubin(asm: Any) -> tuple[int, int]:
    """Read registers, and bytes of local memory, where spilled ones go, from a cubin."""
    from triton import knobs

    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(asm["cubin"])
        file.flush()
        command = [knobs.nvidia.cuobjdump.path, "--dump-resource-usage", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    usage = {name: int(count) for name, count in re.findall(r"\b(REG|STACK|LOCAL):(\d+)", text)}
    return usage["REG"], usage["STACK"] + usage["LOCAL"]


def _of_amdgcn(asm: Any) -> tuple[int, int]:
    """Read vector registers, and bytes of those spilled, from the metadata of AMD's assembly."""
    usage = dict(re.findall(r"\.(vgpr_count|vgpr_spill_count):\s*(\d+)", asm["amdgcn"]))
    return int(usage["vgpr_count"]), 4 * int(usage["vgpr_spill_count"])


def problem(job: Job, usage: Usage) -> str:
    """Say what is wrong with a compiled variant, or nothing."""
    if usage.error:
        return f"does not compile: {usage.error}"
    if usage.shared > SHARED_MEMORY[job.target]:
        return f"needs {usage.shared} bytes of shared memory, of {SHARED_MEMORY[job.target]}"
    if usage.spilled and job.default and job.target == REFERENCE:
        return f"spills {usage.spilled} bytes a thread"
    return ""


def _pool(processes: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(processes, mp_context=get_context("spawn"), initializer=_hush)


def _hush() -> None:
    # MLIR and the assembler write past Python; what matters of it comes back as the error.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)


def _run(job: Job) -> Usage:
    return compile_variant(variants(job.module)[job.index], job.target)


def run(todo: Sequence[Job], processes: int) -> Iterator[tuple[Job, Usage]]:
    """Compile in several processes; a variant that brings the compiler down fails alone."""
    left = list(todo)
    with _pool(processes) as pool, suppress(BrokenProcessPool):
        futures = {pool.submit(_run, job): job for job in todo}
        for future in as_completed(futures):
            usage = future.result()
            left.remove(futures[future])
            yield futures[future], usage
    for job in left:
        with _pool(1) as pool:
            try:
                usage = pool.submit(_run, job).result()
            except BrokenProcessPool:
                usage = Usage(error="the compiler crashed")
        yield job, usage


def table(results: Sequence[tuple[Job, Usage]], targets: Sequence[str]) -> Table:
    """Show a row a variant: shared memory, registers and spilled bytes on each target."""
    title = "bytes of shared memory a block / registers a thread / bytes spilled a thread"
    shown = Table("module", "variant", title=title)
    for target in targets:
        shown.add_column(target, justify="right")
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for job, usage in results:
        text = "error" if usage.error else f"{usage.shared} / {usage.registers} / {usage.spilled}"
        cells = rows.setdefault((job.module.rpartition(".")[2], job.label), {})
        cells[job.target] = f"[red]{text}[/red]" if problem(job, usage) else text
    for names, cells in rows.items():
        shown.add_row(*names, *(cells.get(target, "") for target in targets))
    return shown


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    config = tyro.cli(Config, description=__doc__, args=arguments)
    todo, error = [], ""
    if os.environ.get("TRITON_INTERPRET", "0") != "0":
        error = "under TRITON_INTERPRET nothing is compiled; unset it and try again"
    elif unknown := sorted(set(config.targets) - SHARED_MEMORY.keys()):
        error = f"unknown targets {', '.join(unknown)}; there are {', '.join(SHARED_MEMORY)}"
    elif not (todo := jobs(config)):
        error = f"no variant of {config.package} matches {config.filter!r}"
    if error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    # Of no terminal, tables would be cut to 80 columns.
    console = Console() if sys.stdout.isatty() else Console(width=160)
    results = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("compiling", total=len(todo))
        for job, usage in run(todo, config.processes):
            results.append((job, usage))
            progress.advance(task)
    results.sort(key=lambda result: (result[0].module, result[0].index))
    wrong = [(job, usage) for job, usage in results if problem(job, usage)]
    if wrong or not config.problems:
        console.print(table(wrong if config.problems else results, config.targets))
    for job, usage in wrong:
        print(f"{job.module}: {job.label} on {job.target} {problem(job, usage)}")
    print(f"{len(results)} compilations, {len(wrong)} of them with problems")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
