"""Figures of the chains of centers: their lengths, and how these change with time."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from laoc_flows.analysis.statistics import Measured, block_average
from laoc_flows.analysis.structure.chain_series import ChainSeries
from laoc_flows.analysis.structure.chains import Rule
from laoc_flows.analysis.structure.survey import SurveyResult
from laoc_flows.analysis.suite_results import Analysis
from laoc_flows.analysis.trajectories.frame import IntArray
from laoc_flows.report.figure_labels import number
from laoc_flows.report.style import Analyses, Panel, Row, averaged, compose, legend, named, time_label

RULE_COLORS: dict[Rule, str] = {"distance": "#0072b2", "bridge": "#e69f00"}
MAX_SINGLE = 24
"""Up to this length every length has bars of its own."""

_FIRST_RANGE = 13
_MAX_TICKS = 9
_DASH = "\N{EN DASH}"


def chain_lengths(analyses: Analyses) -> Figure | None:
    """Draw the histogram of chain lengths in both conventions, by both rules.

    Parameters
    ----------
    analyses : Analysis or mapping of str to Analysis
        One analysis, or several by label, which become rows.

    Returns
    -------
    matplotlib.figure.Figure or None
        Bars with standard errors; chains longer than 24 in ranges that double. None without centers.

    Notes
    -----
    Compare J. Mater. Chem. A 13, 2309 (2025), Fig. 1d.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from laoc_flows.analysis import analyze
    >>> from laoc_flows.analysis import Trajectory
    >>> run = Trajectory.from_ase([bulk("Al", "fcc", a=4.05, cubic=True)], time_step=1.0)
    >>> [axes.get_ylabel().splitlines() for axes in chain_lengths(analyze(run, parts=("survey",))).axes]
    [['share of chains (%)', 'number-weighted'], ['share of Al (%)', 'Al-weighted']]
    """
    return compose([Row(label, _histograms(a)) for label, a in named(analyses).items()], widths=(1, 1))


def chain_length_time(analyses: Analyses) -> Figure | None:
    """Draw mean chain lengths and the share of isolated centers against time.

    Parameters
    ----------
    analyses : Analysis or mapping of str to Analysis
        One analysis, or several by label, which become rows.

    Returns
    -------
    matplotlib.figure.Figure or None
        Dark: edges debounced, where frames allow; light: as they are in each frame. None without centers or with a
        single frame.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from laoc_flows.analysis import analyze
    >>> from laoc_flows.analysis import Trajectory
    >>> run = Trajectory.from_ase([bulk("Al", "fcc", a=4.05, cubic=True)] * 9, time_step=0.1)
    >>> [axes.get_xlabel() for axes in chain_length_time(analyze(run, parts=("survey",))).axes]
    ['time (ps)', 'time (ps)', 'time (ps)']
    """
    return compose([Row(label, _against_time(a)) for label, a in named(analyses).items()])


def length_bins(sizes: tuple[int, ...]) -> list[tuple[int, int]]:
    """Return the ranges of lengths that share a bar.

    Parameters
    ----------
    sizes : tuple of int
        Lengths that occur, ascending.

    Returns
    -------
    list of (int, int)
        First and last length of every bar, from 1 on.

    Examples
    --------
    >>> length_bins((1, 4)), length_bins((1, 60))[11:]
    ([(1, 1), (2, 2), (3, 3), (4, 4)], [(12, 12), (13, 24), (25, 48), (49, 96)])
    """
    largest = max(sizes, default=0)
    if largest <= MAX_SINGLE:
        return [(n, n) for n in range(1, largest + 1)]
    bins = [(n, n) for n in range(1, _FIRST_RANGE)]
    while bins[-1][1] < largest:
        first = bins[-1][1] + 1
        bins.append((first, 2 * first - 2))
    return bins


def _histograms(analysis: Analysis) -> list[Panel]:
    found = analysis.survey
    if found is None or found.status == "empty":
        return []
    bins = length_bins(tuple(sorted({n for chain in found.chains.values() for n in chain.sizes})))

    def by_number(axes: Axes) -> None:
        _bars(axes, found, bins, "number")
        axes.set_ylabel("share of chains (%)\nnumber-weighted")

    def by_center(axes: Axes) -> None:
        _bars(axes, found, bins, "center")
        axes.set_ylabel(f"share of {found.center} (%)\n{found.center}-weighted")
        legend(axes)

    return [by_number, by_center]


def _bars(axes: Axes, found: SurveyResult, bins: list[tuple[int, int]], convention: str) -> None:
    x = np.arange(len(bins))
    for k, (rule, chain) in enumerate(found.chains.items()):
        shares = [_share(chain, found.n_centers, first, last, convention) for first, last in bins]
        axes.bar(
            x + 0.42 * (k - 0.5),
            [100 * s.value for s in shares],
            0.4,
            yerr=[100 * (s.standard_error or 0.0) for s in shares],
            color=RULE_COLORS[rule],
            error_kw={"elinewidth": 0.6, "capthick": 0.6},
            label=_describe(found, chain),
        )
    step = -(-len(bins) // _MAX_TICKS)
    singles = all(first == last for first, last in bins)
    ticks = x[::step] if singles else x
    names = [str(first) if first == last else f"{first}{_DASH}{last}" for first, last in bins]
    axes.set_xticks(ticks, [names[k] for k in ticks], rotation=0 if singles else 90)
    axes.tick_params(axis="x", length=0)
    axes.set_ylim(bottom=0)
    axes.set_xlabel(f"{found.center} in the chain")


def _share(chain: ChainSeries, n_centers: int, first: int, last: int, convention: str) -> Measured:
    """Return the share of a range of lengths, as the histograms of the result define that of one length."""
    sizes = np.array(chain.sizes)
    chosen = (sizes >= first) & (sizes <= last)
    if first == last and chosen.any():
        return (chain.number_histogram if convention == "number" else chain.center_histogram)[first]
    counts: IntArray = chain.counts[:, chosen]
    if convention == "center":
        return block_average(counts @ sizes[chosen] / n_centers, "1")
    part, whole = counts.sum(axis=1), chain.n_components
    ratio = float(part.sum() / whole.sum())
    scatter = block_average((part - ratio * whole) / whole.mean(), "1")
    return scatter.model_copy(update={"value": ratio})


def _describe(found: SurveyResult, chain: ChainSeries) -> str:
    a = found.center
    what = f"d({a}{_DASH}{a}) < {found.cutoff:g} \u00c5" if chain.rule == "distance" else "shared anion"
    largest = int(chain.dimension.max())
    if not largest:
        return f"{what}\nno percolation"
    share = chain.averages["percolating_fraction"]
    percent = number(100 * share.value, 100 * share.standard_error if share.standard_error else None)
    return f"{what}\npercolating: {percent} % of {a},\nin up to {largest} dimension{'s' * (largest > 1)}"


def _against_time(analysis: Analysis) -> list[Panel]:
    found = analysis.survey
    if found is None or len(found.time) < 2:  # noqa: PLR2004 - one frame is no series
        return []

    def panel(name: str, label: str, scale: float, *, last: bool) -> Panel:
        def draw(axes: Axes) -> None:
            width = 1
            for rule, raw in found.chains.items():
                clean = found.debounced.get(rule)
                color = RULE_COLORS[rule]
                shown: list[tuple[ChainSeries, str, dict[str, Any]]] = [
                    (raw, "every frame", {"color": color, "alpha": 0.35 if clean else 1.0})
                ]
                if clean:
                    shown.append((clean, f"{found.debounce:g} ps debounced", {"color": color}))
                for series, how, style in shown:
                    time, values, width = averaged(found.time, scale * getattr(series, name))
                    axes.plot(time, values, linewidth=0.8, label=f"{rule} rule,\n{how}", **style)
            axes.set_xlabel(time_label(found.time, width))
            axes.set_ylabel(label)
            axes.set_ylim(bottom=0)
            axes.margins(x=0)
            if last:
                legend(axes)

        return draw

    return [
        panel("number_average_size", f"number-average length ({found.center})", 1.0, last=False),
        panel("weight_average_size", f"weight-average length ({found.center})", 1.0, last=False),
        panel("isolated_fraction", f"isolated {found.center} (%)", 100.0, last=True),
    ]
