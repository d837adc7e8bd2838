"""Figures of mean squared displacements, of every element of a run and of one element in several runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from laoc_flows.analysis.suite_results import Analysis
from laoc_flows.analysis.trajectories.frame import FloatArray
from laoc_flows.analysis.transport.diffusion import CM2_PER_S, DiffusionResult
from laoc_flows.analysis.transport.msd import DiffusiveWindow
from laoc_flows.report.figure_labels import element_color, number, series_color
from laoc_flows.report.style import DARK, Analyses, Panel, Row, compose, legend, log_axis, named

MAX_LAGS = 300
"""Most lags of one curve that are drawn."""

_MSD = "MSD (\u00c5\u00b2)"
_LAG = "lag time (ps)"


class _Curve(NamedTuple):
    """What is drawn of one element of one run."""

    name: str
    color: str
    lag: FloatArray
    value: FloatArray
    window: DiffusiveWindow | None
    diffusion: DiffusionResult | None

    @property
    def span(self) -> tuple[float, float] | None:
        """First and last diffusive lag [ps]."""
        return self.window.window if self.window is not None else None


def msd(analyses: Analyses) -> Figure | None:
    """Draw the MSD of every element against lag time, logarithmic and linear.

    Parameters
    ----------
    analyses : Analysis or mapping of str to Analysis
        One analysis, or several by label, which become rows.

    Returns
    -------
    matplotlib.figure.Figure or None
        The diffusive window is marked; dashed in the linear panel is the line of the quoted D, with the band of its
        95 % interval. The legend has status and D, or its upper bound. None when nothing moved.

    Notes
    -----
    Compare J. Mater. Chem. A 13, 2309 (2025), Figs. 3b, 3c and 4d.

    Examples
    --------
    >>> import numpy as np
    >>> from laoc_flows.analysis import analyze
    >>> from laoc_flows.analysis import Trajectory
    >>> steps = np.random.default_rng(0).normal(size=(200, 20, 3))
    >>> run = Trajectory(("Li",) * 20, np.cumsum(steps, axis=0), 30 * np.eye(3), time_step=1.0)
    >>> figure = msd(analyze(run, parts=("msd",), drift="none"))
    >>> [(axes.get_xlabel(), axes.get_xscale()) for axes in figure.axes]
    [('lag time (ps)', 'log'), ('lag time (ps)', 'linear')]
    """
    return compose([Row(label, _panels(analysis)) for label, analysis in named(analyses).items()], height=5.5)


def msd_comparison(analyses: Mapping[str, Analysis]) -> Figure | None:
    """Draw the MSDs of several runs together, one panel per element.

    Parameters
    ----------
    analyses : mapping of str to Analysis
        Analyses by label.

    Returns
    -------
    matplotlib.figure.Figure or None
        Elements that at least two of the runs have; None when there are none.

    Notes
    -----
    Compare J. Mater. Chem. A 13, 2309 (2025), Figs. 3b and 3c.

    Examples
    --------
    >>> import numpy as np
    >>> from laoc_flows.analysis import analyze
    >>> from laoc_flows.analysis import Trajectory
    >>> steps = np.random.default_rng(0).normal(size=(200, 20, 3))
    >>> run = Trajectory(("Li",) * 20, np.cumsum(steps, axis=0), 30 * np.eye(3), time_step=1.0)
    >>> found = analyze(run, parts=("msd",), drift="none")
    >>> msd_comparison({"a": found, "b": found}).axes[0].get_ylabel()
    'MSD of Li (\u00c5\u00b2)'
    """
    by_element: dict[str, list[_Curve]] = {}
    for n, (label, analysis) in enumerate(analyses.items()):
        for curve in _curves(analysis):
            shown = curve._replace(name=label, color=series_color(n))
            by_element.setdefault(curve.name, []).append(shown)
    shared = {element: curves for element, curves in by_element.items() if len(curves) > 1}
    panels = [_comparison(element, curves) for element, curves in shared.items()]
    return compose([Row("", panels[k : k + 2]) for k in range(0, len(panels), 2)])


def shown_lags(n_lags: int) -> np.ndarray:
    """Choose lags that draw a smooth curve on both a logarithmic and a linear axis.

    Parameters
    ----------
    n_lags : int
        Number of lags there are.

    Returns
    -------
    ndarray of int
        Indices, ascending, the first and the last included; at most `MAX_LAGS`.

    Examples
    --------
    >>> shown_lags(4).tolist(), len(shown_lags(100_000)) <= MAX_LAGS
    ([0, 1, 2, 3], True)
    """
    if n_lags <= MAX_LAGS:
        return np.arange(n_lags)
    half = MAX_LAGS // 2
    fine, even = np.geomspace(1, n_lags, half) - 1, np.linspace(0, n_lags - 1, half)
    return np.unique(np.rint(np.concatenate([fine, even])).astype(np.int64))


def _curves(analysis: Analysis) -> list[_Curve]:
    curves = []
    for symbol, found in analysis.msd.items():
        if not any(value > 0 for value in found.value):
            continue
        chosen = shown_lags(len(found.value))
        lag, value = np.array(found.lag_time)[chosen], np.array(found.value)[chosen]
        window, diffusion = analysis.windows.get(symbol), analysis.diffusion.get(symbol)
        curves.append(_Curve(symbol, element_color(symbol), lag, value, window, diffusion))
    return curves


def _panels(analysis: Analysis) -> list[Panel]:
    curves = _curves(analysis)
    if not curves:
        return []

    def logarithmic(axes: Axes) -> None:
        for curve in curves:
            _log_curve(axes, curve)
        _finish_log(axes, curves)
        axes.set_ylabel(_MSD)

    def linear(axes: Axes) -> None:
        for curve in curves:
            axes.plot(curve.lag, curve.value, color=curve.color, label=_describe(curve))
            _line(axes, curve)
        if any(curve.span is not None for curve in curves):
            axes.plot([], [], color=DARK, linewidth=3, alpha=0.3, label="diffusive window")
        if any(curve.diffusion is not None and curve.diffusion.value is not None for curve in curves):
            axes.plot([], [], color=DARK, linestyle="--", linewidth=0.8, label="6Dt, 95 % band")
        axes.plot([], [], color=DARK, linestyle=":", linewidth=0.8, label="slope 1")
        axes.set_xlim(0, max(curve.lag[-1] for curve in curves))
        axes.set_ylim(bottom=0)
        axes.set_xlabel(_LAG)
        axes.set_ylabel(_MSD)
        legend(axes)

    return [logarithmic, linear]


def _comparison(element: str, curves: list[_Curve]) -> Panel:
    def draw(axes: Axes) -> None:
        for curve in curves:
            _log_curve(axes, curve, label=_describe(curve))
        _finish_log(axes, curves)
        axes.set_ylabel(f"MSD of {element} (\u00c5\u00b2)")
        legend(axes)

    return draw


def _log_curve(axes: Axes, curve: _Curve, label: str | None = None) -> None:
    moved = curve.value > 0
    axes.plot(curve.lag[moved], curve.value[moved], color=curve.color, label=label)
    if curve.span is not None:
        inside = (curve.lag >= curve.span[0]) & (curve.lag <= curve.span[1]) & moved
        axes.plot(
            curve.lag[inside],
            curve.value[inside],
            color=curve.color,
            linewidth=4,
            alpha=0.3,
            solid_capstyle="butt",
        )


def _finish_log(axes: Axes, curves: list[_Curve]) -> None:
    log_axis(axes, "x")
    log_axis(axes, "y")
    axes.set_xlim(min(curve.lag[0] for curve in curves), max(curve.lag[-1] for curve in curves))
    top = max(curves, key=lambda curve: float(curve.value[-1]))
    end = top.lag[-1]
    start = max(end / 10, top.lag[0])
    # Above the fastest element there is nothing else.
    height = 2.5 * float(top.value[-1])
    axes.plot([start, end], [height * start / end, height], color=DARK, linestyle=":", linewidth=0.8)
    axes.set_xlabel(_LAG)


def _line(axes: Axes, curve: _Curve) -> None:
    """Draw the line of the quoted D through the middle of the window, with the band of its interval."""
    found = curve.diffusion
    if found is None or found.value is None or found.window is None:
        return
    inside = (curve.lag >= found.window[0]) & (curve.lag <= found.window[1])
    if not inside.any():
        return
    lag = np.array([found.window[0], found.window[1]])
    middle, height = curve.lag[inside].mean(), curve.value[inside].mean()

    def line(d: float) -> FloatArray:
        return np.asarray(height + 6 * d / CM2_PER_S * (lag - middle))

    axes.plot(lag, line(found.value), color=DARK, linestyle="--", linewidth=0.8)
    if found.interval is not None:
        low, high = (line(d) for d in found.interval)
        axes.fill_between(lag, low, high, color=curve.color, alpha=0.2, linewidth=0)


def _describe(curve: _Curve) -> str:
    found = curve.diffusion
    status = found.status if found is not None else curve.window.status if curve.window is not None else ""
    unit = "cm\u00b2/s"
    if found is not None and found.value is not None:
        return f"{curve.name}: {status}\nD = {number(found.value, found.standard_error, pretty=True)} {unit}"
    if found is not None and found.upper_bound is not None:
        return f"{curve.name}: {status}\nD < {number(found.upper_bound, digits=2, pretty=True)} {unit}"
    return f"{curve.name}: {status}" if status else curve.name
