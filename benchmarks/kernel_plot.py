"""The plot of a kernel benchmark: a panel a group of cases, rate over size, ours, the peers and the floor."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.kernel_times import Row, Timing

STYLES = ("-", ":", "-.")
Rate = Callable[[Row, float], float]


def curves(rows: Sequence[Row], rate: Rate) -> Iterator[tuple[str, str, list[int], list[float]]]:
    """List the curves of a panel: whose ("ours", a peer, "floor"), the line's name, sizes and rates."""
    for line in dict.fromkeys(row.line for row in rows):
        own = [row for row in rows if row.line == line]
        peers = dict.fromkeys(name for row in own for name in row.peers)
        for name in ("floor", *peers, "ours"):
            times = [
                row.floor if name == "floor" else row.ours if name == "ours" else row.peers.get(name)
                for row in own
            ]
            seconds = [time.seconds if isinstance(time, Timing) else time for time in times]
            points = [
                (row.x, rate(row, value))
                for row, value in zip(own, seconds, strict=True)
                if isinstance(value, float)
            ]
            if points:
                yield name, line, [x for x, _ in points], [y for _, y in points]


def draw(path: Path, rows: Sequence[Row], rate: Rate, labels: tuple[str, str], title: str, log: bool) -> None:
    """Write a PNG; `labels` are those of x and y, and rates are on a logarithmic axis where `log`."""
    os.environ.setdefault("MPLBACKEND", "Agg")
    import matplotlib.pyplot as plt

    panels: dict[str, list[Row]] = {}
    for row in rows:
        panels.setdefault(row.panel, []).append(row)
    names = list(dict.fromkeys(name for row in rows for name in row.peers))
    lines = list(dict.fromkeys(row.line for row in rows))
    looks: dict[str, dict[str, Any]] = {name: {"color": f"C{i + 1}"} for i, name in enumerate(names)}
    looks["ours"] = {"color": "black", "linewidth": 2.2, "zorder": 3}
    looks["floor"] = {"color": "grey", "linewidth": 1}
    columns = min(len(panels), 5 if len(panels) > 9 else 4)
    heights = -(-len(panels) // columns)
    size = (4.2 * columns, 3.4 * heights + 0.9)
    figure, axes = plt.subplots(heights, columns, figsize=size, squeeze=False, layout="constrained")
    for axis in axes.flat[len(panels) :]:
        axis.axis("off")
    entries: dict[str, Any] = {}
    for axis, (panel, own) in zip(axes.flat, panels.items(), strict=False):
        for name, line, xs, ys in curves(own, rate):
            style = "--" if name == "floor" and len(lines) == 1 else STYLES[lines.index(line) % len(STYLES)]
            marker = "_" if name == "floor" else "o"
            (curve,) = axis.plot(xs, ys, marker=marker, markersize=4, linestyle=style, **looks[name])
            entries[f"{name} {line}".strip()] = curve
        sizes = sorted({row.x for row in own})
        axis.set_xscale("log", base=2)
        axis.set_xticks(sizes, [str(x) for x in sizes], rotation=45 if len(sizes) > 6 else 0)
        axis.minorticks_off()
        if log:
            axis.set_yscale("log")
        else:
            axis.set_ylim(bottom=0)
        axis.set_title(panel, fontsize=10)
        axis.set_xlabel(labels[0])
        axis.set_ylabel(labels[1])
        axis.grid(alpha=0.3)
    figure.legend(
        list(entries.values()), list(entries), loc="outside lower center", ncols=len(entries), frameon=False
    )
    figure.suptitle(title)
    figure.savefig(path, dpi=110 if len(panels) <= 20 else 80)
    plt.close(figure)
