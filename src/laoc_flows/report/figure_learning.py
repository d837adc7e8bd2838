"""Figure of the learning loop over its iterations: errors, agreement, labels and work."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

from laoc_flows.report.figure_labels import series_color
from laoc_flows.report.style import DARK, LIGHT, Panel, Row, compose, log_axis
from laoc_flows.schemas.iteration import IterationDocument, StratumReport
from laoc_flows.schemas.learning import Targets
from laoc_flows.schemas.potential import HeldOutError, PotentialDocument
from laoc_flows.store.learning import LearningRun

MAX_NAMED = 6
"""Compositions that have a color of their own."""

_DODGE = 0.06
_WIDEST = 0.3
_MOST_LISTED = 8
_MOST_NOTES = 4
_LINE = 100
_TOP = 140.0
_DECADE, _TWO_DECADES = 10.0, 120.0
# Broad and behind: it often lies on the line of a composition.
_WORST: dict[str, Any] = {"color": LIGHT, "linewidth": 4, "markersize": 7, "alpha": 0.7, "zorder": 0.5}


class Palette(NamedTuple):
    """Colors of the compositions of a run, the same in all its figures.

    Attributes
    ----------
    colors : dict of str to str
        Color of every composition; those without one of their own share a light gray.
    named : tuple of str
        Compositions with a color of their own, at most `MAX_NAMED`: the worst of them where there are more.
    """

    colors: dict[str, str]
    named: tuple[str, ...]

    @property
    def others(self) -> int:
        """Compositions without a color of their own."""
        return len(self.colors) - len(self.named)

    def keys(self, marker: str = "o", **options: Any) -> list[Artist]:
        """Handles of a legend."""
        found: list[Artist] = [
            Line2D([], [], color=self.colors[name], marker=marker, label=name, **options)
            for name in self.named
        ]
        if self.others:
            found.append(Line2D([], [], color=LIGHT, marker=marker, label=f"{self.others} others", **options))
        return found


def palette(run: LearningRun) -> Palette:
    """Choose colors for the compositions of a run.

    Parameters
    ----------
    run : LearningRun
        The run.

    Returns
    -------
    Palette
        Where there are many compositions, those with the largest held-out force RMSE [eV/A] in the end have a color.
    """
    last: dict[str, float] = {}
    for iteration in run.iterations:
        last |= dict.fromkeys((report.composition_id for report in iteration.strata), 0.0)
    for _, potential in with_potential(run):
        last |= {name: error.force_rmse for name, error in potential.held_out.items()}
    for points in run.points.values():
        last = {each.composition_id: 0.0 for each in points} | last
    worst = sorted(last, key=lambda name: (-last[name], name))[:MAX_NAMED]
    named = tuple(sorted(worst))
    colors = {
        name: series_color(named.index(name)) if name in named else LIGHT
        for name in sorted(last, key=lambda name: (name not in named, name))
    }
    return Palette(colors, named)


def with_potential(run: LearningRun) -> list[tuple[IterationDocument, PotentialDocument]]:
    """List the iterations whose potential is in the store, with it.

    Parameters
    ----------
    run : LearningRun
        The run.

    Returns
    -------
    list of tuple
        By iteration.
    """
    pairs = ((each, run.potential(each)) for each in run.iterations)
    return [(iteration, potential) for iteration, potential in pairs if potential is not None]


def learning_progress(run: LearningRun, targets: Targets | None = None) -> Figure | None:
    """Draw errors, share of candidates, labels and work over the iterations.

    Parameters
    ----------
    run : LearningRun
        The run.
    targets : Targets, optional
        When it is enough, drawn as dashed lines.

    Returns
    -------
    matplotlib.figure.Figure or None
        Held-out force and energy RMSE of every composition with standard errors, and the RMSE of zero forces as a scale;
        the share of frames that the committee does not agree on, over all frames of a composition and in the worst
        stratum; labels trained on and selected; core hours. What no document has is left out. None without an iteration.
    """
    if not run.iterations:
        return None
    colors = palette(run)
    found: list[tuple[Panel, bool]] = [
        (lambda axes: _force(axes, run, colors, targets), _has_force(run)),
        (lambda axes: _energy(axes, run, colors, targets), any(p.held_out for _, p in with_potential(run))),
        (lambda axes: _share(axes, run, colors, targets), any(_shares(i.strata) for i in run.iterations)),
        (lambda axes: _labels(axes, run), True),
        (lambda axes: _work(axes, run), any(each.spent.core_hours > 0 for each in run.iterations)),
    ]
    panels = [panel for panel, there in found if there]
    panels.append(lambda axes: _progress_key(axes, run, colors, targets))
    return compose([Row("", panels[k : k + 3]) for k in range(0, len(panels), 3)], height=5.4)


def _has_force(run: LearningRun) -> bool:
    held_out = any(potential.held_out for _, potential in with_potential(run))
    return held_out or any(each.worst_force_rmse is not None for each in run.iterations)


def iteration_axis(axes: Axes, run: LearningRun) -> None:
    """Make the horizontal axis one of whole iterations.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        The axes.
    run : LearningRun
        The run.
    """
    axes.set_xlabel("iteration")
    axes.set_xlim(run.iterations[0].iteration - 0.5, run.last.iteration + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))


def share_axis(axes: Axes) -> None:
    """Make the vertical axis one of shares: logarithmic above 1 %, with a place for none.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        The axes.
    """
    axes.set_yscale("symlog", linthresh=1.0, linscale=0.4)
    axes.set_ylim(-0.1, _TOP)
    axes.yaxis.set_major_locator(FixedLocator([0, 1, 10, 100]))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())


def error_axis(axes: Axes, which: Literal["x", "y"]) -> None:
    """Make one axis logarithmic once its data are drawn, with ticks between the powers of ten on up to two decades.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        The axes.
    which : {"x", "y"}
        The axis.
    """
    log_axis(axes, which)
    axis = axes.xaxis if which == "x" else axes.yaxis
    low, high = axis.get_view_interval()
    if _DECADE * low < high < _TWO_DECADES * low:
        axis.set_major_locator(LogLocator(numticks=12, subs=(1.0, 2.0, 5.0)))


def dodge(index: int, count: int) -> float:
    """Shift of one of several points at the same iteration, so that equal ones are told apart.

    Parameters
    ----------
    index, count : int
        Which one, of how many.

    Returns
    -------
    float
        Shift along the axis of the iterations [1].

    Examples
    --------
    >>> round(dodge(0, 2) + dodge(1, 2), 9), dodge(0, 1)
    (0.0, 0.0)
    """
    return (index - (count - 1) / 2) * min(_DODGE, _WIDEST / max(count - 1, 1))


def _by_composition(run: LearningRun) -> dict[str, list[tuple[int, HeldOutError]]]:
    found: dict[str, list[tuple[int, HeldOutError]]] = {}
    for iteration, potential in with_potential(run):
        for name, error in potential.held_out.items():
            found.setdefault(name, []).append((iteration.iteration, error))
    return found


def _force(axes: Axes, run: LearningRun, colors: Palette, targets: Targets | None) -> None:
    held = _by_composition(run)
    for name, rows in held.items():
        zero = [(n, error.zero_force_rmse) for n, error in rows if error.zero_force_rmse > 0]
        if name in colors.named and zero:
            # As wide as the axis, also where there is a single iteration.
            height = zero[-1][1]
            axes.axhline(height, color=colors.colors[name], linestyle=":", linewidth=0.7, alpha=0.7)
        _errors(axes, colors, name, [(n, e.force_rmse, e.force_rmse_error) for n, e in rows])
    if not held:
        worst = [(i.iteration, i.worst_force_rmse) for i in run.iterations if i.worst_force_rmse]
        axes.plot([n for n, _ in worst], [value for _, value in worst], "o-", color=DARK)
    if targets is not None:
        axes.axhline(targets.force_rmse, color=DARK, linestyle="--", linewidth=0.8)
    _log_errors(axes)
    iteration_axis(axes, run)
    axes.set_ylabel("held-out force RMSE (eV/\u00c5)")


def _energy(axes: Axes, run: LearningRun, colors: Palette, targets: Targets | None) -> None:
    for name, rows in _by_composition(run).items():
        _errors(axes, colors, name, [(n, e.energy_rmse, e.energy_rmse_error) for n, e in rows])
    if targets is not None:
        axes.axhline(targets.energy_rmse, color=DARK, linestyle="--", linewidth=0.8)
    _log_errors(axes)
    iteration_axis(axes, run)
    axes.set_ylabel("held-out energy RMSE (eV/atom)")


def _log_errors(axes: Axes) -> None:
    # Without a value above zero there is nothing that a logarithmic axis could be made of.
    if any(np.any(np.asarray(line.get_ydata()) > 0) for line in axes.lines):
        error_axis(axes, "y")


def _errors(axes: Axes, colors: Palette, name: str, rows: Sequence[tuple[int, float, float | None]]) -> None:
    own = name in colors.named
    shift = dodge(list(colors.colors).index(name), len(colors.colors))
    # A logarithmic axis has no place for zero.
    rows = [row for row in rows if row[1] > 0]
    axes.errorbar(
        [n + shift for n, _, _ in rows],
        [value for _, value, _ in rows],
        yerr=[error or 0.0 for _, _, error in rows] if own else None,
        marker="o",
        markersize=3.0 if own else 0.0,
        color=colors.colors[name],
        elinewidth=0.7,
        zorder=2 if own else 1,
        label=name,
    )


def _shares(strata: Iterable[StratumReport]) -> dict[str, float]:
    """Share of frames that are not agreed on by composition [%]."""
    counts: dict[str, list[int]] = {}
    for report in strata:
        count = counts.setdefault(report.composition_id, [0, 0])
        count[0] += report.n_candidates + report.n_failed + report.n_cut
        count[1] += report.n_frames
    return {name: 100 * count / total for name, (count, total) in counts.items() if total}


def _share(axes: Axes, run: LearningRun, colors: Palette, targets: Targets | None) -> None:
    series: dict[str, list[tuple[int, float]]] = {}
    worst = []
    for iteration in run.iterations:
        for name, share in _shares(iteration.strata).items():
            series.setdefault(name, []).append((iteration.iteration, share))
        strata = [s.candidate_share for s in iteration.strata if s.candidate_share is not None]
        if strata:
            worst.append((iteration.iteration, 100 * max(strata)))
    axes.plot([n for n, _ in worst], [share for _, share in worst], "s-", **_WORST)
    for name, rows in series.items():
        own = name in colors.named
        shift = dodge(list(colors.colors).index(name), len(colors.colors))
        axes.plot(
            [n + shift for n, _ in rows],
            [share for _, share in rows],
            marker="o",
            markersize=3.0 if own else 0.0,
            color=colors.colors[name],
            zorder=2 if own else 1,
            label=name,
        )
    if targets is not None:
        axes.axhline(100 * targets.candidate_share, color=DARK, linestyle="--", linewidth=0.8)
    share_axis(axes)
    iteration_axis(axes, run)
    axes.set_ylabel("frames not agreed on (%)")


def _labels(axes: Axes, run: LearningRun) -> None:
    numbers = [each.iteration for each in run.iterations]
    axes.bar(numbers, [each.n_selected for each in run.iterations], width=0.5, color=LIGHT)
    axes.plot(numbers, [each.n_train for each in run.iterations], "o-", color=DARK)
    axes.set_ylim(bottom=0)
    iteration_axis(axes, run)
    axes.set_ylabel("labels")


def _work(axes: Axes, run: LearningRun) -> None:
    numbers = [each.iteration for each in run.iterations]
    axes.plot(numbers, [each.spent.core_hours for each in run.iterations], "o-", color=DARK)
    axes.set_ylim(bottom=0)
    iteration_axis(axes, run)
    axes.set_ylabel("core hours until then (h)")


def _progress_key(axes: Axes, run: LearningRun, colors: Palette, targets: Targets | None) -> None:
    handles = colors.keys(markersize=3.0)
    if any(_by_composition(run)):
        zero = Line2D([], [], color=DARK, linestyle=":", linewidth=0.7, label="if all forces were zero")
        handles.append(zero)
    if any(_shares(each.strata) for each in run.iterations):
        handles.append(Line2D([], [], marker="s", label="worst stratum", **_WORST))
    if targets is not None:
        handles.append(Line2D([], [], color=DARK, linestyle="--", linewidth=0.8, label="target"))
    handles += [
        Line2D([], [], color=DARK, marker="o", label="labels trained on"),
        Patch(color=LIGHT, label="labels selected for the next"),
    ]
    axes.set_axis_off()
    axes.legend(handles=handles, loc="upper left", borderaxespad=0.0)
