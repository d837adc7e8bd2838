"""Figures of what the trust levels rest on, and of what they lead to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

from laoc_flows.learning.calibration import LEAST_ERROR, LabelError
from laoc_flows.report.figure_learning import Palette, dodge, error_axis, iteration_axis, palette, share_axis
from laoc_flows.report.style import DARK, LIGHT, Panel, Row, compose, legend
from laoc_flows.schemas.iteration import Calibration, IterationDocument, StratumReport
from laoc_flows.store.learning import LearningRun

MAX_PANELS = 4
"""Most iterations that one figure of the calibration shows."""

_BAD = "#d55e00"
_FEW = 6
_SELECTED, _AGREED, _HELD_OUT = "selected", "committee agreed", "held out"
_MARKERS = {_SELECTED: "o", _AGREED: "^", _HELD_OUT: "s"}
_TEMPERATURES = ("o", "s", "^", "D", "v", "P", "X")
_STYLES = ("-", "--", ":", "-.")
_ROW = 0.78
_DARK_CELL = 0.6
_POWER = 0.5
_TWO_DIGITS, _ALMOST = 10.0, 99.0


def calibration(run: LearningRun, iterations: Sequence[int] | None = None) -> Figure | None:
    """Draw the force RMSE of labels against the deviation of the committee, and the trust levels that follow.

    Parameters
    ----------
    run : LearningRun
        The run, with its points.
    iterations : sequence of int, optional
        Which iterations; by default the last `MAX_PANELS` that have points, and never more.

    Returns
    -------
    matplotlib.figure.Figure or None
        A panel for each iteration: labels by composition and by why they were labeled; for each set of labels the line of
        the median ratio, with the band of its spread; trust levels as vertical lines, at the foot where there are many;
        and the errors that they stand for, where the lines meet. None without a label.
    """
    colors = palette(run)
    shown = [
        (each, points)
        for each in run.iterations
        if (points := _usable(run.points.get(each.iteration, ())))
        and (iterations is None or each.iteration in iterations)
    ][-MAX_PANELS:]
    if not shown:
        return None
    panels = [_calibration_panel(iteration, points, colors) for iteration, points in shown]
    rows = [Row("", panels[k : k + 2]) for k in range(0, len(panels), 2)]

    def key(axes: Axes) -> None:
        _calibration_key(axes, shown, colors)

    rows[0] = Row("", [*rows[0].panels, key])
    return compose(rows, widths=(1.0, 1.0, 0.6) if len(panels) > 1 else (1.0, 0.6), height=6.5)


def _usable(points: Iterable[LabelError]) -> list[LabelError]:
    return [each for each in points if each.deviation > LEAST_ERROR and each.force_rmse > LEAST_ERROR]


def _kind(point: LabelError) -> str:
    if point.agreed:
        return _AGREED
    return _SELECTED if point.source == _SELECTED else _HELD_OUT


class _Pool(NamedTuple):
    """Labels whose ratio several strata may share."""

    ratio: float
    spread: float
    color: str


def _pools(iteration: IterationDocument, colors: Palette) -> list[_Pool]:
    owners: dict[tuple[float, float], set[str]] = {}
    for each in iteration.calibration:
        if each.ratio is not None:
            owner = owners.setdefault((each.ratio, each.spread or 0.0), set())
            owner.add(each.stratum.composition_id)
    return [
        _Pool(ratio, spread, colors.colors.get(next(iter(names)), DARK) if len(names) == 1 else DARK)
        for (ratio, spread), names in owners.items()
    ]


def _levels(iteration: IterationDocument) -> list[tuple[str, float, float]]:
    """Trust levels, each once for a composition."""
    found = [
        (each.stratum.composition_id, each.levels.low, each.levels.high) for each in iteration.calibration
    ]
    if not found:
        found = [(each.composition_id, each.trust_low, each.trust_high) for each in iteration.strata]
    return list(dict.fromkeys(found))


def _calibration_panel(iteration: IterationDocument, points: Sequence[LabelError], colors: Palette) -> Panel:
    def draw(axes: Axes) -> None:
        levels = _levels(iteration)
        deviations = [each.deviation for each in points]
        reach = [*deviations, *(value for _, low, high in levels for value in (low, high))]
        ends = np.array([min(reach) / 1.2, max(reach) * 1.2])
        pools = _pools(iteration, colors)
        few = len(pools) <= _FEW
        for pool in pools:
            if few:
                low, high = np.exp(-pool.spread), np.exp(pool.spread)
                edges = (pool.ratio * low * ends, pool.ratio * high * ends)
                axes.fill_between(ends, *edges, color=pool.color, alpha=0.12, linewidth=0)
            axes.plot(ends, pool.ratio * ends, color=pool.color, linewidth=0.9 if few else 0.5)
        height = 1.0 if len(levels) <= _FEW else 0.06
        for name, low, high in levels:
            color = colors.colors.get(name, LIGHT)
            axes.axvline(low, ymax=height, color=color, linestyle="--", linewidth=0.7)
            axes.axvline(high, ymax=height, color=color, linestyle=":", linewidth=0.9)
        for error in _error_levels(iteration.calibration):
            axes.axhline(error, color=DARK, linestyle="-.", linewidth=0.5, zorder=1)
        for name in reversed(colors.colors):
            for kind, marker in _MARKERS.items():
                mine = [each for each in points if each.composition_id == name and _kind(each) == kind]
                if mine:
                    axes.plot(
                        [each.deviation for each in mine],
                        [each.force_rmse for each in mine],
                        linestyle="none",
                        marker=marker,
                        markersize=3.0,
                        markeredgewidth=0.4,
                        markeredgecolor="white",
                        color=colors.colors[name],
                        label=f"{name} {kind}",
                        zorder=3,
                    )
        axes.set_xlim(*ends)
        _log_both(axes)
        axes.set_xlabel("deviation of the committee (eV/\u00c5)")
        axes.set_ylabel("force RMSE of the label (eV/\u00c5)")
        axes.set_title(f"iteration {iteration.iteration}: {len(points)} labels", loc="left")

    return draw


def _log_both(axes: Axes) -> None:
    error_axis(axes, "y")
    limits = axes.get_xlim()
    error_axis(axes, "x")
    axes.set_xlim(*limits)


def _error_levels(entries: Iterable[Calibration]) -> list[float]:
    """Errors that the trust levels stand for: the target, and the worst that is worth a label [eV/A]."""
    found = {
        float(f"{each.ratio * level:.6g}")
        for each in entries
        if each.ratio is not None
        for level in (each.levels.low, each.levels.high)
    }
    # All strata share them; else they were put there by other means, and stand for nothing.
    return sorted(found) if len(found) <= len(("target", "worst")) else []


def _calibration_key(
    axes: Axes, shown: Sequence[tuple[IterationDocument, Sequence[LabelError]]], colors: Palette
) -> None:
    kinds = {_kind(point) for _, points in shown for point in points}
    handles: list[Artist] = [
        *colors.keys(linestyle="none", markersize=3.5),
        *(
            Line2D([], [], color=DARK, linestyle="none", marker=marker, label=kind)
            for kind, marker in _MARKERS.items()
            if kind in kinds
        ),
    ]
    n_pools = [len(_pools(iteration, colors)) for iteration, _ in shown]
    if any(n_pools):
        handles.append(Line2D([], [], color=DARK, linewidth=0.9, label="median ratio"))
    if any(0 < n <= _FEW for n in n_pools):
        handles.append(Patch(color=DARK, alpha=0.12, linewidth=0, label="its spread"))
    if any(_levels(iteration) for iteration, _ in shown):
        handles += [
            Line2D([], [], color=DARK, linestyle="--", linewidth=0.7, label="lower trust level"),
            Line2D([], [], color=DARK, linestyle=":", linewidth=0.9, label="upper trust level"),
        ]
    if any(_error_levels(iteration.calibration) for iteration, _ in shown):
        label = "target and worst error"
        handles.append(Line2D([], [], color=DARK, linestyle="-.", linewidth=0.5, label=label))
    axes.set_axis_off()
    axes.legend(handles=handles, loc="upper left", borderaxespad=0.0)


def strata(run: LearningRun) -> Figure | None:
    """Draw what exploration found in every stratum: a table in color, and its history.

    Parameters
    ----------
    run : LearningRun
        The run.

    Returns
    -------
    matplotlib.figure.Figure or None
        Share of frames that the committee does not agree on in the last iteration, with the numbers of selected and of
        explored frames, framed where a run was cut; beside it the share over the iterations. None without a stratum.
    """
    explored = [each for each in run.iterations if each.strata]
    if not explored:
        return None
    colors = palette(run)
    last = explored[-1]
    n_rows = len(_rows(last.strata))
    panels: list[Panel] = [lambda axes: _table(axes, last, colors)]
    if len(explored) > 1:
        panels.append(lambda axes: _history(axes, run, explored, colors))
    return compose([Row("", panels)], widths=(1.15, 1.0), height=max(5.5, _ROW * n_rows + 2.0))


_Condition = tuple[str, str]


def _rows(reports: Iterable[StratumReport]) -> list[_Condition]:
    """Composition and condition of the strata, in the order of volumes, then of pressures."""
    first = {(each.composition_id, each.stratum.condition): each for each in reports}

    def order(row: _Condition) -> tuple[str, float, float]:
        report = first[row]
        return row[0], report.volume_scale or float("inf"), report.pressure or 0.0

    return sorted(first, key=order)


def _table(axes: Axes, iteration: IterationDocument, colors: Palette) -> None:
    rows = _rows(iteration.strata)
    columns = sorted({report.temperature for report in iteration.strata})
    share = np.full((len(rows), len(columns)), np.nan)
    norm = PowerNorm(_POWER, 0.0, 1.0)
    for report in iteration.strata:
        place = rows.index((report.composition_id, report.stratum.condition))
        where = place, columns.index(report.temperature)
        found = report.candidate_share
        share[where] = np.nan if found is None else found
        dark = found is not None and norm(found) > _DARK_CELL
        axes.text(
            where[1],
            where[0],
            f"{_percent(found)}\n{report.n_selected} / {report.n_frames}",
            ha="center",
            va="center",
            color="white" if dark else DARK,
        )
        if report.n_cut:
            corner = (where[1] - 0.46, where[0] - 0.44)
            axes.add_patch(Rectangle(corner, 0.92, 0.88, fill=False, edgecolor=_BAD, linewidth=1.5))
    axes.imshow(np.ma.masked_invalid(share), aspect="auto", cmap="Blues", norm=norm)
    axes.set_xticks(range(len(columns)), [f"{temperature:g}" for temperature in columns])
    axes.set_yticks(range(len(rows)), [f"{name}\n{text}" if text else name for name, text in rows])
    axes.tick_params(length=0)
    for k, (name, _) in enumerate(rows):
        if name in colors.named:
            strip: dict[str, Any] = {"color": colors.colors[name], "linewidth": 4, "clip_on": False}
            axes.plot([-0.5, -0.5], [k - 0.4, k + 0.4], solid_capstyle="butt", **strip)
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlabel("temperature (K)")
    note = "; framed: a run was cut" if any(report.n_cut for report in iteration.strata) else ""
    title = f"iteration {iteration.iteration}: frames not agreed on\nselected / explored{note}"
    axes.set_title(title, loc="left")


def _percent(share: float | None) -> str:
    if share is None:
        return "none"
    percent = 100 * share
    if percent in {0.0, 100.0} or _TWO_DIGITS <= percent <= _ALMOST:
        return f"{percent:.0f} %"
    # What is not quite all is not written as all.
    return f"{min(percent, 99.9):.1f} %" if percent > _ALMOST else f"{percent:.2g} %"


def _history(axes: Axes, run: LearningRun, explored: Sequence[IterationDocument], colors: Palette) -> None:
    series: dict[tuple[_Condition, float], list[tuple[int, float]]] = {}
    for iteration in explored:
        for report in iteration.strata:
            if (share := report.candidate_share) is not None:
                row = (report.composition_id, report.stratum.condition)
                found = series.setdefault((row, report.temperature), [])
                found.append((iteration.iteration, 100 * share))
    temperatures = sorted({temperature for _, temperature in series})
    conditions = list(dict.fromkeys(condition for (_, condition), _ in series))
    for k, (((name, condition), temperature), points) in enumerate(sorted(series.items())):
        own = name in colors.named
        axes.plot(
            [n + dodge(k, len(series)) for n, _ in points],
            [share for _, share in points],
            color=colors.colors[name],
            marker=_TEMPERATURES[temperatures.index(temperature) % len(_TEMPERATURES)] if own else "",
            markersize=3.0,
            linestyle=_STYLES[conditions.index(condition) % len(_STYLES)],
            linewidth=0.8,
            zorder=2 if own else 1,
        )
    share_axis(axes)
    iteration_axis(axes, run)
    axes.set_ylabel("frames not agreed on (%)")
    handles: list[Artist] = [
        Line2D([], [], color=DARK, linestyle="none", marker=marker, label=f"{temperature:g} K")
        for temperature, marker in zip(temperatures, _TEMPERATURES, strict=False)
    ]
    if len(conditions) > 1:
        handles += [
            Line2D([], [], color=DARK, linestyle=style, label=condition or "volume x 1")
            for condition, style in zip(conditions, _STYLES, strict=False)
        ]
    legend(axes, handles=handles)
