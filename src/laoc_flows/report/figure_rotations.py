"""Figure of the rotations of the ligands: who turns, how often, and in what kind of motion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from laoc_flows.analysis.events.rotation_results import RotationResult
from laoc_flows.analysis.rates import Rate, poisson_rate
from laoc_flows.report.figure_labels import OTHER, common_types, element_color, type_axis
from laoc_flows.report.style import DARK, LIGHT, Analyses, Panel, Row, compose, legend, named


class _Type(NamedTuple):
    """Rotations about hosts of one type, or of all rare types."""

    label: str
    n_ligands: int
    n_hosts: int
    rate: Rate


def rotations(analyses: Analyses) -> Figure | None:
    """Draw how many ligands and hosts rotate, how often, and in what kind of motion; one row per ligand.

    Parameters
    ----------
    analyses : Analysis or mapping of str to Analysis
        One analysis, or several by label.

    Returns
    -------
    matplotlib.figure.Figure or None
        By type of the host, which rare types share. A ligand without any event has its rates alone, which are then
        upper bounds. None without bonded ligands.

    Notes
    -----
    Compare J. Mater. Chem. A 13, 2309 (2025), Fig. 2d.

    Examples
    --------
    >>> import numpy as np
    >>> from laoc_flows.analysis import analyze
    >>> from laoc_flows.analysis import Trajectory
    >>> positions = np.array([[[2, 5, 5], [4, 5, 5] if t < 50 else [2, 7, 5]] for t in range(100)])
    >>> run = Trajectory(("Al", "Cl"), positions, 12 * np.eye(3), time_step=0.1)
    >>> figure = rotations(analyze(run, parts=("rotations",), drift="none"))
    >>> [int(bar.get_width()) for bar in figure.axes[0].patches]
    [1, 1]
    """
    rows = []
    for label, analysis in named(analyses).items():
        for ligand, found in analysis.rotations.items():
            rows.append(Row(f"{label} {ligand}".strip(), _panels(found)))
    return compose(rows, widths=(1, 1, 1))


def _panels(found: RotationResult) -> list[Panel]:
    if found.status == "empty":
        return []
    types = _types(found)
    if not types:
        return []

    y = np.arange(len(types))
    labels = [t.label for t in types]
    turning, hosting = found.rotating_ligands, found.rotating_hosts
    ligand = f"rotating {found.ligand}\n({turning.count} of {turning.total})"
    host = f"{found.center} with one\n({hosting.count} of {hosting.total})"
    bars = (
        (-0.2, [t.n_ligands for t in types], element_color(found.ligand), ligand),
        (0.2, [t.n_hosts for t in types], element_color(found.center), host),
    )
    motions = (
        (-0.2, list(found.events_by_kind.values()), DARK, "rotations"),
        (0.2, [found.motions_by_kind[kind] for kind in found.events_by_kind], LIGHT, "motions of\na host"),
    )

    def who(axes: Axes) -> None:
        _bars(axes, bars)
        type_axis(axes, labels)
        axes.set_xlabel(f"number of {found.ligand} or {found.center}")

    def how_often(axes: Axes) -> None:
        for height, kind in zip(y, types, strict=True):
            low, high = kind.rate.interval or (0.0, 0.0)
            value = kind.rate.value or 0.0
            error = np.maximum([[value - low], [high - value]], 0)
            axes.errorbar(
                value, height, xerr=error, fmt="o", color=element_color(found.ligand), elinewidth=0.8
            )
        type_axis(axes, labels)
        if found.n_events:
            axes.set_yticklabels([])
        values = [t.rate.value or 0.0 for t in types]
        highest = max(high for t in types for high in (t.rate.interval or (0.0, 0.0)))
        # An upper bound of a rare type must not squeeze all others.
        axes.set_xlim(0, min(1.05 * highest, 3 * max(values)) or 1.05 * highest or 1.0)
        status = "" if found.status == "ok" else f"\n{found.status}"
        axes.set_xlabel(f"per {found.ligand} (ns\u207b\u00b9), 95 % intervals{status}")

    def kinds(axes: Axes) -> None:
        _bars(axes, motions)
        names = list(found.events_by_kind)
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.4, -0.6)
        axes.tick_params(axis="y", length=0)
        axes.set_xlabel(f"number in {found.duration:.4g} ps")
        legend(axes, handles=[Patch(color=color, label=label) for _, _, color, label in (*bars, *motions)])

    return [who, how_often, kinds] if found.n_events else [how_often]


def _bars(axes: Axes, groups: Sequence[tuple[float, Sequence[int], str, str]]) -> None:
    for shift, numbers, color, _ in groups:
        axes.barh(np.arange(len(numbers)) + shift, numbers, 0.36, color=color)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    axes.set_xlim(left=0)


def _types(found: RotationResult) -> list[_Type]:
    """Return the numbers by type of host; what rare types have in common is counted from the events."""
    everywhere = sum(kind.mean_ligands for kind in found.by_type)
    if not everywhere:
        return []
    labels = [kind.label for kind in found.by_type]
    common, rare = common_types(labels, [kind.mean_ligands / everywhere for kind in found.by_type])
    types = [
        _Type(kind.label, kind.n_rotating_ligands, kind.n_rotating_hosts, kind.rate)
        for kind in (found.by_type[k] for k in common)
    ]
    if rare:
        names = {labels[k] for k in rare}
        chosen = np.array([label in names for label in found.events.host_type], dtype=bool)
        n_ligands, n_hosts = (
            np.unique(column[chosen]).size for column in (found.events.ligand, found.events.host)
        )
        exposure = sum(found.by_type[k].rate.exposure for k in rare)
        types.append(_Type(OTHER, n_ligands, n_hosts, poisson_rate(int(chosen.sum()), exposure)))
    return types
