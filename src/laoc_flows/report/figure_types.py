"""Figures of the tetrahedra: their shares in the structure, and which of them hops prefer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from laoc_flows.analysis.events.hop_enrichment import Enrichment
from laoc_flows.analysis.statistics import block_average
from laoc_flows.analysis.structure.survey import SurveyResult
from laoc_flows.analysis.suite_results import Analysis
from laoc_flows.report.figure_labels import OTHER, common_types, type_axis, type_color
from laoc_flows.report.style import (
    DARK,
    LIGHT,
    Analyses,
    Panel,
    Row,
    averaged,
    compose,
    legend,
    log_axis,
    named,
    time_label,
)

_SOURCES = (
    ("structure_share", "in the structure", LIGHT),
    ("neighbor_share", "{carrier} neighbor time", "#56b4e9"),
    ("event_share", "ends of hops", "#d55e00"),
)


def tetrahedra_time(analyses: Analyses) -> Figure | None:
    """Draw the shares of the types of centers against time, and their averages.

    Parameters
    ----------
    analyses : Analysis or mapping of str to Analysis
        One analysis, or several by label, which become rows.

    Returns
    -------
    matplotlib.figure.Figure or None
        Types below 1 % are drawn together. A single frame has averages only; None without centers.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from laoc_flows.analysis import analyze
    >>> from laoc_flows.analysis import Trajectory
    >>> run = Trajectory.from_ase([bulk("Al", "fcc", a=4.05, cubic=True)] * 2, time_step=1.0)
    >>> [axes.get_xlabel() for axes in tetrahedra_time(analyze(run, parts=("survey",))).axes]
    ['time (ps)', 'mean share of Al (%)']
    """
    rows = [Row(label, _shares(analysis)) for label, analysis in named(analyses).items()]
    return compose(rows, widths=(1.6, 1))


def enrichment(analyses: Analyses) -> Figure | None:
    """Draw which types of centers are at the ends of hops, against the structure and the time near carriers.

    Parameters
    ----------
    analyses : Analysis or mapping of str to Analysis
        One analysis, or several by label, which become rows.

    Returns
    -------
    matplotlib.figure.Figure or None
        Shares with 95 % intervals, and their ratio P(type | event) / P(type | neighbor time). Types below 1 % in
        every respect are drawn together. None without hops.

    Notes
    -----
    Compare J. Mater. Chem. A 13, 2309 (2025), Fig. 2c.

    Examples
    --------
    >>> import numpy as np
    >>> from laoc_flows.analysis import analyze
    >>> from laoc_flows.analysis import Trajectory
    >>> framework = [[2, 5, 5], [2, 7, 5], [6, 5, 5], [6, 7, 5]]
    >>> positions = np.array([[*framework, [2.0 if t < 50 else 6.0, 9, 5]] for t in range(100)])
    >>> run = Trajectory(("Al", "Cl", "Al", "Cl", "Li"), positions, 12 * np.eye(3), time_step=0.1)
    >>> figure = enrichment(analyze(run, parts=("hops",)))
    >>> figure.axes[0].get_xlabel()
    'share (%); 1 hop'
    """
    rows = [Row(label, _enrichment(analysis)) for label, analysis in named(analyses).items()]
    return compose(rows, widths=(1.3, 1), height=6.0)


def _shares(analysis: Analysis) -> list[Panel]:
    found = analysis.survey
    if found is None or found.status == "empty":
        return []
    labels, series = _lumped(found)
    regular = found.type_labels
    colors = [type_color(label, regular) for label in labels]

    def against_time(axes: Axes) -> None:
        time, values, width = averaged(found.time, 100 * series)
        for k, color in enumerate(colors):
            axes.plot(time, values[:, k], color=color, linewidth=0.8)
        axes.set_xlabel(time_label(found.time, width))
        axes.set_ylabel(f"share of {found.center} (%)")
        axes.set_ylim(bottom=0)
        axes.margins(x=0)

    def averages(axes: Axes) -> None:
        means = [block_average(series[:, k], "1") for k in range(len(labels))]
        axes.barh(
            range(len(labels)),
            [100 * mean.value for mean in means],
            0.7,
            xerr=[100 * (mean.standard_error or 0.0) for mean in means],
            color=colors,
            error_kw={"elinewidth": 0.6, "capthick": 0.6},
        )
        type_axis(axes, labels)
        axes.set_xlim(left=0)
        axes.set_xlabel(f"mean share of {found.center} (%)")

    return [averages] if len(found.time) == 1 else [against_time, averages]


def _lumped(found: SurveyResult) -> tuple[list[str], np.ndarray]:
    """Return labels and series of the types to draw, rare ones in one."""
    common, rare = common_types(found.type_labels, found.type_fractions.mean(axis=0))
    labels = [found.type_labels[k] for k in common]
    columns = [found.type_fractions[:, k] for k in common]
    if rare:
        labels.append(OTHER)
        columns.append(found.type_fractions[:, rare].sum(axis=1))
    return labels, np.column_stack(columns)


def _enrichment(analysis: Analysis) -> list[Panel]:
    found = analysis.enrichment
    if found is None or found.status == "empty":
        return []
    shares = np.array([[share or 0.0 for share in getattr(found, name)] for name, _, _ in _SOURCES])
    common, rare = common_types(found.labels, shares)
    labels = [found.labels[k] for k in common] + [OTHER] * bool(rare)
    heights = 100 * np.column_stack([shares[:, common], shares[:, rare].sum(axis=1)])

    def bars(axes: Axes) -> None:
        for s, (_, text, color) in enumerate(_SOURCES):
            y = np.arange(len(labels)) + 0.27 * (s - 1)
            name = text.format(carrier=analysis.system.carrier)
            axes.barh(y, heights[s, : len(labels)], 0.25, color=color, label=name)
        last = 0.27 * (len(_SOURCES) - 2)
        low, high = 100 * np.array([found.event_interval[k] for k in common]).T
        at = heights[-1, : len(common)]
        axes.errorbar(
            at,
            np.arange(len(common)) + last,
            xerr=np.maximum([at - low, high - at], 0),
            fmt="none",
            ecolor=DARK,
            elinewidth=0.6,
        )
        type_axis(axes, labels)
        axes.set_xlim(left=0)
        axes.set_xlabel(f"share (%); {found.n_hops} hop{'s' * (found.n_hops != 1)}")

    def ratios(axes: Axes) -> None:
        _ratios(axes, found, common)
        type_axis(axes, labels)
        axes.set_yticklabels([])
        handles, names = axes.figure.axes[-2].get_legend_handles_labels()
        for handle, name in zip(handles, names, strict=True):
            handle.set_label(name)
        legend(axes, f"\N{GREEK SMALL LETTER TAU} = {found.tau:g} ps, bars: 95 %", handles)

    known = any(found.enrichment[k] is not None for k in common)
    return [bars, ratios] if known else [bars]


def _ratios(axes: Axes, found: Enrichment, common: Sequence[int]) -> None:
    axes.axvline(1, color=LIGHT, linewidth=0.8, zorder=0)
    floor = 1.0
    for y, k in enumerate(common):
        value, interval = found.enrichment[k], found.enrichment_interval[k]
        if value is None or interval is None:
            continue
        if value > 0:
            floor = min(floor, interval[0] or value)
            error = np.maximum([[value - interval[0]], [interval[1] - value]], 0)
            axes.errorbar(value, y, xerr=error, fmt="o", color=DARK, elinewidth=0.8)
        else:
            axes.errorbar(interval[1], y, xerr=interval[1] / 2, xuplims=True, fmt="none", ecolor=DARK)
    log_axis(axes, "x")
    axes.set_xlabel("enrichment: P(hop) / P(neighbor time)")
