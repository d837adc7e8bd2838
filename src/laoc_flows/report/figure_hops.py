"""Figures of the hops: their classes, the matrix behind these, and how long ions and bonds stay."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from laoc_flows.analysis.events.bond_persistence import BondPersistenceResult
from laoc_flows.analysis.events.hop_statistics import HopClasses, HopMatrix
from laoc_flows.analysis.suite_results import Analysis
from laoc_flows.report.figure_labels import element_color
from laoc_flows.report.style import DARK, Analyses, Panel, Row, compose, legend, log_axis, named

CLASS_COLORS = ("#0072b2", "#e69f00", "#009e73")
_TAU = "\N{GREEK SMALL LETTER TAU}"
_DARK_CELL = 0.55


def hop_classes(analyses: Analyses) -> Figure | None:
    """Draw the shares of the classes of hops, and the matrix of origins and destinations.

    Parameters
    ----------
    analyses : Analysis or mapping of str to Analysis
        One analysis, or several by label, which become rows.

    Returns
    -------
    matplotlib.figure.Figure or None
        Shares with 95 % intervals and counts, and counts as a heat map. None without hops.

    Notes
    -----
    Compare J. Mater. Chem. A 13, 2309 (2025), Fig. 2b.

    Examples
    --------
    >>> import numpy as np
    >>> from laoc_flows.analysis import analyze
    >>> from laoc_flows.analysis import Trajectory
    >>> framework = [[2, 5, 5], [2, 7, 5], [6, 5, 5], [6, 7, 5]]
    >>> positions = np.array([[*framework, [2.0 if t < 50 else 6.0, 9, 5]] for t in range(100)])
    >>> run = Trajectory(("Al", "Cl", "Al", "Cl", "Li"), positions, 12 * np.eye(3), time_step=0.1)
    >>> figure = hop_classes(analyze(run, parts=("hops",)))
    >>> [float(bar.get_height()) for bar in figure.axes[0].patches]
    [100.0, 0.0, 0.0]
    """
    rows = [Row(label, _classes(analysis)) for label, analysis in named(analyses).items()]
    return compose(rows, widths=(1, 1.25), height=6.0)


def survival(analyses: Analyses) -> Figure | None:
    """Draw how long carriers stay with a host, and how long bonds persist.

    Parameters
    ----------
    analyses : Analysis or mapping of str to Analysis
        One analysis, or several by label, which become rows.

    Returns
    -------
    matplotlib.figure.Figure or None
        Kaplan-Meier estimates with 95 % bands, and correlation functions of the bonds. None without dwells and bonds.

    Examples
    --------
    >>> import numpy as np
    >>> from laoc_flows.analysis import analyze
    >>> from laoc_flows.analysis import Trajectory
    >>> framework = [[2, 5, 5], [2, 7, 5], [6, 5, 5], [6, 7, 5]]
    >>> positions = np.array([[*framework, [2.0 if t < 50 else 6.0, 9, 5]] for t in range(100)])
    >>> run = Trajectory(("Al", "Cl", "Al", "Cl", "Li"), positions, 12 * np.eye(3), time_step=0.1)
    >>> figure = survival(analyze(run, parts=("persistence",)))
    >>> [axes.get_xlabel() for axes in figure.axes]
    ['lag time (ps)', 'remaining lifetime (ps)']
    """
    rows = [Row(label, _survival(analysis)) for label, analysis in named(analyses).items()]
    return compose(rows, height=5.5)


def _classes(analysis: Analysis) -> list[Panel]:
    found, matrix = analysis.hop_classes, analysis.hop_matrix
    panels: list[Panel] = []
    if found is not None and found.n_hops:
        panels.append(lambda axes: _class_bars(axes, analysis, found))
    if matrix is not None and matrix.n_events:
        panels.append(lambda axes: _heat_map(axes, matrix))
    return panels


def _class_bars(axes: Axes, analysis: Analysis, found: HopClasses) -> None:
    center = analysis.system.center
    names = [
        kind.name.replace("isolated-", f"isolated {center}-\n").replace("-chain", "-\nchain")
        for kind in found.classes
    ]
    for x, kind in enumerate(found.classes):
        value, (low, high) = 100 * (kind.share.value or 0), 100 * np.array(kind.share.interval or (0, 1))
        error = np.maximum([[value - low], [high - value]], 0)
        style = {"elinewidth": 0.8, "capthick": 0.8}
        axes.bar(x, value, 0.65, yerr=error, color=CLASS_COLORS[x], error_kw=style)
        axes.annotate(
            f"{kind.count}", (x, high), (0, 3), textcoords="offset points", ha="center", va="bottom"
        )
    axes.set_xticks(range(len(names)), names)
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(0, 112)
    axes.set_yticks(range(0, 101, 20))
    axes.set_ylabel("share of hops (%), 95 % intervals")
    axes.set_xlabel(_hop_counts(analysis, found))


def _hop_counts(analysis: Analysis, found: HopClasses) -> str:
    back = found.back_jumps.count
    lines = [f"{found.n_hops} hops with {_TAU} = {found.tau:g} ps, {back} of them back-jumps"]
    others = [c for c in analysis.hops.by_tau if c.tau != found.tau] if analysis.hops is not None else []
    if others:
        lines.append("; ".join(f"{c.n_hops} with {_TAU} = {c.tau:g} ps" for c in others))
    return "\n".join(lines)


def _heat_map(axes: Axes, matrix: HopMatrix) -> None:
    counts = np.asarray(matrix.counts)
    axes.imshow(counts, cmap="Blues", vmin=0, vmax=max(int(counts.max()), 1), aspect="auto")
    for (row, column), count in np.ndenumerate(counts):
        dark = count > _DARK_CELL * counts.max()
        share = 100 * (matrix.entries[row][column].share.value or 0)
        text = f"{count}\n{share:.2g} %" if count else "0"
        axes.text(column, row, text, ha="center", va="center", color="white" if dark else "black")
    wrapped = [name.replace(" ", "\n") for name in matrix.destinations]
    axes.set_xticks(range(len(wrapped)), wrapped)
    axes.set_yticks(range(len(matrix.origins)), matrix.origins, rotation=90, va="center")
    axes.tick_params(length=0)
    axes.set_xlabel(f"destination (counts, % of {matrix.n_events} events)")
    axes.set_ylabel("origin")


def _survival(analysis: Analysis) -> list[Panel]:
    dwell = analysis.dwell
    panels: list[Panel] = []
    if dwell is not None and dwell.n_dwells:

        def draw(axes: Axes) -> None:
            color = element_color(analysis.system.carrier)
            axes.fill_between(
                dwell.lag, dwell.lower, dwell.upper, step="post", color=color, alpha=0.25, linewidth=0
            )
            axes.step(dwell.lag, dwell.survival, where="post", color=color)
            lines = ["time at a host (ps)", f"{dwell.n_dwells} dwells, {dwell.n_censored} cut by the end"]
            lines.append(dwell.status if dwell.mean is None else f"mean {dwell.mean:.3g} ps")
            axes.set_xlabel("\n".join(lines))
            axes.set_ylabel(f"share of {analysis.system.carrier} still there")
            axes.set_ylim(0, 1.03)
            axes.set_xlim(left=0)

        panels.append(draw)
    bonds = {ligand: p for ligand, p in analysis.persistence.items() if p.status == "ok"}
    if bonds:
        panels += [lambda axes: _correlations(axes, bonds), lambda axes: _residual(axes, bonds)]
    return panels


def _correlations(axes: Axes, bonds: dict[str, BondPersistenceResult]) -> None:
    for ligand, found in bonds.items():
        lag, color = found.lag_time[1:], element_color(ligand)
        axes.plot(lag, found.intermittent[1:], color=color)
        axes.plot(lag, found.continuous[1:], color=color, linestyle="--")
    axes.plot([], [], color=DARK, label="bond exists")
    axes.plot([], [], color=DARK, linestyle="--", label="never broke")
    log_axis(axes, "x")
    axes.set_xlabel("lag time (ps)")
    axes.set_ylabel("share of the bonds")
    axes.set_ylim(0, 1.03)
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)


def _residual(axes: Axes, bonds: dict[str, BondPersistenceResult]) -> None:
    for ligand, found in bonds.items():
        curve, color = found.residual, element_color(ligand)
        label = f"{found.center}\N{EN DASH}{ligand}\n{curve.n_ended} broke,\n{curve.n_censored} did not"
        time = np.append(0.0, curve.time)
        low, middle, high = (np.append(1.0, c) for c in (curve.low, curve.probability, curve.high))
        axes.fill_between(time, low, high, step="post", color=color, alpha=0.25, linewidth=0)
        axes.step(time, middle, where="post", color=color, label=label)
    axes.set_xlabel("remaining lifetime (ps)")
    axes.set_ylabel("share of the first bonds")
    axes.set_ylim(0, 1.03)
    axes.set_xlim(left=0)
    legend(axes)
