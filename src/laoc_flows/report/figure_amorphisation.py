"""Figure of a series: motion against the degree of amorphisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from laoc_flows.analysis.rates import Rate
from laoc_flows.analysis.suite_results import Analysis
from laoc_flows.report.figure_labels import element_color, series_color
from laoc_flows.report.style import DARK, Analyses, Panel, Row, compose, legend, named
from laoc_flows.schemas.amorphisation import AmorphisationPoint, AmorphisationSeries
from laoc_flows.schemas.base import Measured
from laoc_flows.schemas.transport import Counted

_THETA = "\N{GREEK CAPITAL LETTER THETA}"
_FEWEST = 2
_CARRIER, _LIGAND = "Li", "Cl"

_Interval = tuple[float, float] | None


class _Events(NamedTuple):
    """A rate of events [1/ns] with its interval; an upper bound where it is zero."""

    rate: float
    interval: _Interval


class _Point(NamedTuple):
    """What is drawn of one run."""

    melt_time: float | None
    theta_s: Measured
    theta_g: float | None
    displacements: dict[str, float]
    lag: float | None
    diffusive: tuple[str, ...]
    hops: _Events | None
    rotations: _Events | None
    carrier: str
    ligand: str


def amorphisation_series(source: Analyses | AmorphisationSeries) -> Figure | None:
    """Draw displacements, hops and rotations against the degree of amorphisation.

    Parameters
    ----------
    source : AmorphisationSeries, Analysis, or mapping of str to Analysis
        A series, or analyses of several runs, each compared with the same crystal.

    Returns
    -------
    matplotlib.figure.Figure or None
        A point for each run, with standard errors and 95 % intervals; a displacement that is not diffusive is an
        open symbol, a rate without events an upper bound. For a series also the degree itself against the time in
        the melt. None with fewer than two runs of a known degree.

    Notes
    -----
    Compare J. Mater. Chem. A 13, 2309 (2025), Fig. S8.

    Examples
    --------
    >>> import numpy as np
    >>> from ase.build import bulk
    >>> from laoc_flows.analysis import analyze
    >>> from laoc_flows.analysis import Trajectory
    >>> salt = bulk("LiCl", "rocksalt", a=5.13, cubic=True).repeat(3)
    >>> runs = {}
    >>> for size in (0.0, 0.3):
    ...     noise = np.random.default_rng(0).normal(scale=size, size=(9, len(salt), 3))
    ...     run = Trajectory(tuple(salt.symbols), salt.positions + noise, salt.cell.array, time_step=1.0)
    ...     runs[str(size)] = analyze(run, parts=("msd", "amorphisation"), crystal=salt)
    >>> [axes.get_ylabel() for axes in amorphisation_series(runs).axes]
    ['MSD (\u00c5\u00b2) at 4 ps']
    """
    if isinstance(source, AmorphisationSeries):
        points = [point for each in source.points if (point := _of_document(each)) is not None]
    else:
        found = [_of_analysis(analysis) for analysis in named(source).values()]
        points = sorted((p for p in found if p is not None), key=lambda point: point.theta_s.value)
    if len(points) < _FEWEST:
        return None
    first = points[0]
    panels: list[Panel] = []
    if all(point.melt_time is not None for point in points):
        panels.append(lambda axes: _degree(axes, points))
    if any(point.displacements for point in points):
        panels.append(lambda axes: _displacements(axes, points))
    for name, element, pick in (
        (f"hops per {first.carrier}", first.carrier, _hops_of),
        (f"turns per {first.ligand}", first.ligand, _rotations_of),
    ):
        if any(pick(point) is not None for point in points):
            panels.append(_rates(points, name, element, pick))
    return compose([Row("", panels[k : k + 2]) for k in range(0, len(panels), 2)])


def _hops_of(point: _Point) -> _Events | None:
    return point.hops


def _rotations_of(point: _Point) -> _Events | None:
    return point.rotations


def _of_document(point: AmorphisationPoint) -> _Point | None:
    if point.theta_s is None:
        return None
    moved = {name: each for name, each in point.species.items() if each.last_msd is not None}
    turned = point.rotations.get(_LIGAND)
    return _Point(
        melt_time=point.melt_time,
        theta_s=point.theta_s,
        theta_g=point.theta_g,
        displacements={name: each.last_msd or 0.0 for name, each in moved.items()},
        lag=max((each.last_lag or 0.0 for each in moved.values()), default=None),
        diffusive=tuple(name for name, each in moved.items() if each.status == "diffusive"),
        hops=_counted(point.hops.all) if point.hops is not None else None,
        rotations=_counted(turned.rotating) if turned is not None else None,
        carrier=_CARRIER,
        ligand=_LIGAND,
    )


def _counted(events: Counted) -> _Events | None:
    return _Events(events.rate, events.rate_interval) if events.rate is not None else None


def _of_analysis(analysis: Analysis) -> _Point | None:
    order = analysis.amorphisation
    if order is None or order.theta_s is None:
        return None
    moved = {name: found for name, found in analysis.msd.items() if found.lag_time}
    turned = {name: found for name, found in analysis.rotations.items() if found.status != "empty"}
    ligand = _LIGAND if _LIGAND in turned else next(iter(turned), _LIGAND)
    classes = analysis.hop_classes
    return _Point(
        melt_time=None,
        theta_s=order.theta_s,
        theta_g=order.theta_g,
        displacements={name: float(found.value[-1]) for name, found in moved.items()},
        lag=max((float(found.lag_time[-1]) for found in moved.values()), default=None),
        diffusive=tuple(name for name in moved if analysis.windows[name].status == "diffusive"),
        hops=_rated(classes.total.rate) if classes is not None else None,
        rotations=_rated(turned[ligand].rate) if ligand in turned else None,
        carrier=order.carrier,
        ligand=ligand,
    )


def _rated(rate: Rate) -> _Events | None:
    return _Events(rate.value, rate.interval) if rate.value is not None else None


def _degree(axes: Axes, points: Sequence[_Point]) -> None:
    times = [point.melt_time or 0.0 for point in points]
    theta = [point.theta_s for point in points]
    axes.errorbar(
        times,
        [each.value for each in theta],
        yerr=[each.standard_error or 0.0 for each in theta],
        fmt="o-",
        color=series_color(0),
        elinewidth=0.8,
        label=f"{_THETA}$_S$",
    )
    if any(point.theta_g is not None for point in points):
        values = [np.nan if point.theta_g is None else point.theta_g for point in points]
        axes.plot(times, values, "s--", color=series_color(1), label=f"{_THETA}$_g$")
    axes.set_xlabel("time in the melt (ps)")
    axes.set_ylabel("degree of amorphisation (1)")
    axes.set_ylim(-0.05, max(1.05, *(each.value + 0.05 for each in theta)))
    # Lines with error bars would come last.
    handles, labels = axes.get_legend_handles_labels()
    legend(axes, handles=[handles[i] for i in np.argsort(labels)])


def _displacements(axes: Axes, points: Sequence[_Point]) -> None:
    elements = list(dict.fromkeys(name for point in points for name in point.displacements))
    for element in elements:
        shown = [point for point in points if element in point.displacements]
        color = element_color(element)
        x = [point.theta_s.value for point in shown]
        y = [point.displacements[element] for point in shown]
        axes.plot(x, y, "-", color=color, linewidth=0.6)
        for point, left, up in zip(shown, x, y, strict=True):
            axes.errorbar(
                left,
                up,
                xerr=point.theta_s.standard_error or 0.0,
                fmt="o",
                color=color,
                markerfacecolor=color if element in point.diffusive else "white",
                elinewidth=0.8,
            )
    _against_theta(axes)
    lags = {round(point.lag, 6) for point in points if point.lag is not None}
    where = f"at {lags.pop():.4g} ps" if len(lags) == 1 else "at the longest lag"
    axes.set_ylabel(f"MSD (\u00c5\u00b2) {where}")
    _from_zero(axes)
    handles = [Line2D([], [], marker="o", color=element_color(name), label=name) for name in elements]
    plain = {"linestyle": "none", "marker": "o", "color": DARK}
    open_symbol = Line2D([], [], markerfacecolor="white", label="not\ndiffusive", **plain)  # type: ignore[arg-type]
    some = any(name not in point.diffusive for point in points for name in point.displacements)
    legend(axes, handles=[*handles, *([open_symbol] if some else [])])


def _rates(
    points: Sequence[_Point], name: str, element: str, pick: Callable[[_Point], _Events | None]
) -> Panel:
    def draw(axes: Axes) -> None:
        shown = [(point.theta_s, events) for point in points if (events := pick(point)) is not None]
        color = element_color(element)
        axes.plot(
            [theta.value for theta, _ in shown], [events.rate for _, events in shown], "-", color=color, linewidth=0.6
        )  # fmt: skip
        for theta, events in shown:
            low, high = events.interval or (events.rate, events.rate)
            axes.errorbar(
                theta.value,
                events.rate,
                xerr=theta.standard_error or 0.0,
                yerr=np.maximum([[events.rate - low], [high - events.rate]], 0),
                fmt="o",
                color=color,
                markerfacecolor=color if events.rate else "white",
                elinewidth=0.8,
            )
        _against_theta(axes)
        axes.set_ylabel(f"{name} (ns\u207b\u00b9), 95 % intervals")
        _from_zero(axes)

    return draw


def _from_zero(axes: Axes) -> None:
    """Begin just below zero, so that a symbol at zero is whole."""
    axes.set_ylim(bottom=-0.03 * axes.get_ylim()[1])


def _against_theta(axes: Axes) -> None:
    axes.set_xlabel(f"degree of amorphisation {_THETA}$_S$ (1)")
    low, high = axes.get_xlim()
    axes.set_xlim(min(low, -0.05), max(high, 1.05))
