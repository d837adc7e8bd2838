"""Tables and the picture of the benchmark of the analysis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import numpy as np
from matplotlib import pyplot as plt
from rich.table import Table

_OURS = "#1f6feb"
_SLOWER = "#c9510c"


def tables(found: dict[str, Any]) -> Iterator[Table]:
    """Yield the tables of a benchmark.

    Parameters
    ----------
    found : dict
        What analysis.json holds.
    """
    yield _comparisons(found)
    yield from _scaling(found["scaling"])
    for key, title in (
        ("warm_up", "Warm-up: kernels compiled and called"),
        ("suite", "Whole suite without kinisi"),
        ("kinisi", "What kinisi is part of: D, conductivities, Haven ratio"),
        ("streaming", "Streaming: structure in every tenth frame, motion in all"),
    ):
        if key in found:
            yield _steps(found[key], title)
    aims = _table("Aims", "what", "aim", "measured", "met", left=1)
    for row in found["aims"]:
        aims.add_row(row["what"], row["aim"], f"{row['measured']:.4g}", "yes" if row["met"] else "no")
    yield aims


def _table(title: str, *columns: str, left: int) -> Table:
    table = Table(title=title, title_justify="left")
    for k, column in enumerate(columns):
        table.add_column(column, justify="left" if k < left else "right")
    return table


def _comparisons(found: dict[str, Any]) -> Table:
    heads = (
        "quantity",
        "peer",
        "atoms",
        "frames",
        "ours (1/s)",
        "peer (1/s)",
        "ratio",
        "range",
        "difference",
        "tolerance",
    )
    table = _table(f"Frames per second on one core; ratio: {found['about']['ratios_mean']}", *heads, left=2)
    for c in found["comparisons"]:
        low, high = c["ratio_range"]
        table.add_row(
            c["quantity"],
            c["peer"],
            str(c["n_atoms"]),
            str(c["n_frames"]),
            f"{c['ours_frames_per_s']:.3g}",
            f"{c['peer_frames_per_s']:.3g}",
            f"{c['ratio']:.3g}",
            f"{low:.3g} to {high:.3g}",
            f"{c['difference']:.1e}" + ("" if c["agrees"] else " !"),
            f"{c['tolerance']:.0e}",
        )
    return table


def _scaling(scaling: dict[str, Any]) -> Iterator[Table]:
    for what, other in (("atoms", "n_frames"), ("frames", "n_atoms")):
        part = scaling[what]
        sizes = [int(n) for n, _ in next(iter(part["seconds"].values()))]
        title = (
            f"CPU time (s) against {what}, {part[other]} {other.removeprefix('n_')}; exponents of a power law"
        )
        table = _table(title, "function", *map(str, sizes), "all", "last two", left=1)
        for name, points in part["seconds"].items():
            power = part["exponents"][name]
            times = [f"{t:.3g}" for _, t in points]
            table.add_row(name, *times, f"{power['all']:.2f}", f"{power['last_two']:.2f}")
        yield table


def _steps(job: dict[str, Any], title: str) -> Table:
    if "n_frames" in job:
        title += f", {job['n_atoms']} atoms x {job['n_frames']} frames"
    memory = (
        f"peak memory {job['peak_rss_MiB']} MiB, {job['peak_anonymous_MiB']} MiB of it not backed by files"
    )
    table = _table(f"{title}; {memory}", "step", "wall (s)", "CPU (s)", left=1)
    rows = list(job["steps"].items())
    if "n_frames" in job:
        rows.append(("total without import and first call", job["total"]))
    for name, times in rows:
        table.add_row(name, f"{times['wall_s']:.2f}", f"{times['cpu_s']:.2f}")
    for name, reason in job.get("missing", {}).items():
        table.add_row(f"missing: {name} ({reason})", "", "")
    return table


def plot(found: dict[str, Any], path: Path) -> None:
    """Draw the ratios, the growth with atoms and frames, and the parts of the suite.

    Parameters
    ----------
    found : dict
        What analysis.json holds.
    path : Path
        The picture.
    """
    mosaic = [["ratios", "steps"], ["ratios", "atoms"], ["ratios", "frames"]]
    figure, axes = plt.subplot_mosaic(mosaic, figsize=(15, 14), layout="constrained")
    _draw_ratios(axes["ratios"], found["comparisons"])
    _draw_steps(axes["steps"], found)
    for what, other in (("atoms", "n_frames"), ("frames", "n_atoms")):
        part = found["scaling"][what]
        for name, points in part["seconds"].items():
            n, seconds = np.array(points).T
            axes[what].loglog(n, seconds, "o-", label=f"{name}, power {part['exponents'][name]['all']:.2f}")
        axes[what].loglog(n, n / n[-1] * seconds[-1], "k--", lw=1, label="linear")
        label = f"number of {what} ({part[other]} {other.removeprefix('n_')})"
        axes[what].set(xlabel=label, ylabel="CPU time (s)", xticks=n, xticklabels=[f"{k:.0f}" for k in n])
        axes[what].minorticks_off()
        axes[what].legend(fontsize=8)
    figure.savefig(path, dpi=100)
    plt.close(figure)


def _draw_ratios(axis: Any, comparisons: list[dict[str, Any]]) -> None:
    ordered = sorted(comparisons, key=lambda c: c["ratio"])
    names = [f"{c['quantity']}: {c['peer']} ({c['n_atoms']})" for c in ordered]
    ratios = [c["ratio"] for c in ordered]
    colors = [_OURS if ratio >= 1 else _SLOWER for ratio in ratios]
    bars = axis.barh(names, np.array(ratios) - 1, left=1, color=colors)
    axis.bar_label(bars, [f" {ratio:.3g} " for ratio in ratios], fontsize=8)
    axis.axvline(1, color="black", lw=1)
    axis.set(xscale="log", xlabel="frames per second, ours / peer (number of atoms in brackets)")
    axis.margins(x=0.15, y=0.01)
    axis.tick_params(axis="y", labelsize=7)


def _draw_steps(axis: Any, found: dict[str, Any]) -> None:
    for key, color in (("kinisi", _SLOWER), ("suite", _OURS)):
        steps = {k: v for k, v in found[key]["steps"].items() if k != "import" and "call" not in k}
        if key == "kinisi":
            steps = {k: v for k, v in steps.items() if k not in {"open", "paths"}}
        names = list(steps)[::-1]
        axis.barh(names, [steps[name]["cpu_s"] for name in names], color=color)
        axis.bar_label(axis.containers[-1], fmt=" %.1f", fontsize=8)
    job = found["suite"]
    axis.set(xlabel=f"CPU time (s), {job['n_atoms']} atoms x {job['n_frames']} frames; orange: with kinisi")
    axis.margins(x=0.1)
