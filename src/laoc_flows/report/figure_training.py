"""Figures of the potentials of a learning loop: how they were trained, and how well the last one does."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from laoc_flows.analysis.trajectories.frame import FloatArray
from laoc_flows.report.figure_labels import number
from laoc_flows.report.figure_learning import Palette, palette, with_potential
from laoc_flows.report.figure_msd import shown_lags
from laoc_flows.report.style import DARK, Panel, Row, compose, legend, log_axis
from laoc_flows.schemas.iteration import IterationDocument
from laoc_flows.schemas.potential import PotentialDocument
from laoc_flows.store.learning import LearningRun

MAX_PARITY = 12
"""Most compositions that one figure of the parity shows."""

_LOSSES = {
    "rmse_f_trn": "training force RMSE (eV/\u00c5)",
    "rmse_e_trn": "training energy RMSE (eV/atom)",
}
_MEV = 1e3
_MOST_LISTED = 8
_MOST_NOTES = 4
_LINE = 100


def training_curves(run: LearningRun) -> Figure | None:
    """Draw the training errors of every model of every iteration over the steps.

    Parameters
    ----------
    run : LearningRun
        The run, with its curves.

    Returns
    -------
    matplotlib.figure.Figure or None
        RMSE of forces and of energies of the batches, both logarithmic, a color for each iteration; trainings that failed
        are named above. None without a learning curve.
    """
    trained = [
        (each, potential)
        for each, potential in with_potential(run)
        if any(_loss(run, model.key, name)[0].size for model in potential.models for name in _LOSSES)
    ]
    if not trained:
        return None
    shades = mpl.colormaps["viridis"](np.linspace(0.0, 0.9, len(trained)))
    colors = {i.iteration: to_hex(shade) for (i, _), shade in zip(trained, shades, strict=True)}
    notes = _notes(run)
    drawn = {
        name: [
            (colors[iteration.iteration], *loss)
            for iteration, potential in trained
            for model in potential.models
            if (loss := _loss(run, model.key, name))[0].size
        ]
        for name in _LOSSES
    }
    shown = [name for name in _LOSSES if drawn[name]]

    def panel(name: str) -> Panel:
        def draw(axes: Axes) -> None:
            for color, step, loss in drawn[name]:
                axes.plot(step, loss, color=color, linewidth=0.8)
            log_axis(axes, "x")
            log_axis(axes, "y")
            axes.set_xlabel("training step")
            axes.set_ylabel(_LOSSES[name])
            if notes and name == shown[0]:
                axes.set_title(notes, loc="left")
            if name == shown[-1]:
                legend(axes, title="iteration", handles=_iteration_keys(trained, colors))

        return draw

    return compose([Row("", [panel(name) for name in shown])], height=6.5 if notes else 5.5)


def _loss(run: LearningRun, key: str, column: str) -> tuple[np.ndarray, np.ndarray]:
    """Steps and losses that a logarithmic plot can show, thinned."""
    curve = run.curves.get(key, {})
    step, loss = (np.asarray(curve.get(name, ()), dtype=np.float64) for name in ("step", column))
    if step.size != loss.size:
        return np.empty(0), np.empty(0)
    good = (step > 0) & (loss > 0) & np.isfinite(loss)
    step, loss = step[good], loss[good]
    chosen = shown_lags(step.size) if step.size else np.empty(0, dtype=np.int64)
    return step[chosen], loss[chosen]


def _iteration_keys(
    trained: Sequence[tuple[IterationDocument, PotentialDocument]], colors: Mapping[int, str]
) -> list[Artist]:
    picked = np.unique(np.linspace(0, len(trained) - 1, min(len(trained), _MOST_LISTED)).round().astype(int))
    keys: list[Artist] = []
    for k in picked:
        iteration, potential = trained[int(k)]
        n = len(potential.models)
        label = f"{iteration.iteration}: {n} model{'s' if n != 1 else ''}"
        keys.append(Line2D([], [], color=colors[iteration.iteration], label=label))
    return keys


def _notes(run: LearningRun) -> str:
    """Trainings that failed, in words; empty if none did."""
    lines = []
    for iteration, potential in with_potential(run):
        where = f"iteration {iteration.iteration}"
        lines += [
            f"{where}: a model could not be trained, {each.status.value}: {each.reason or 'no reason'}"
            for each in potential.failed
        ]
        for n, model in enumerate(potential.models):
            bad = [each for each in model.attempts if each.status.value != "completed"]
            if bad:
                why = f"{bad[-1].status.value}: {bad[-1].reason or 'no reason'}"
                lines.append(f"{where}: model {n} was trained at try {len(model.attempts)}, {why}")
    left = len(lines) - _MOST_NOTES
    if left > 0:
        lines = [*lines[:_MOST_NOTES], f"and {left} more"]
    return "\n".join(part for line in lines for part in textwrap.wrap(line, _LINE)[:2])


def parity(run: LearningRun) -> Figure | None:
    """Draw predicted against labeled forces and energies of held-out frames.

    Parameters
    ----------
    run : LearningRun
        The run, with its parity.

    Returns
    -------
    matplotlib.figure.Figure or None
        Two panels for each composition, of the last potential that has held-out frames, with the RMSE over all of them;
        energies from the mean of the labels, in meV/atom. At most `MAX_PARITY` compositions, those with the largest force RMSE. None
        without held-out frames.
    """
    found = [(each, p) for each in run.iterations if (p := run.potential(each)) and run.parity.get(p.key)]
    if not found:
        return None
    iteration, potential = found[-1]
    tables = run.parity[potential.key]
    colors = palette(run)

    def worst(name: str) -> tuple[float, str]:
        error = potential.held_out.get(name)
        return -(error.force_rmse if error is not None else _rmse(tables[name], "force")), name

    names = sorted(sorted((name for name in tables if tables[name].get("force")), key=worst)[:MAX_PARITY])
    if not names:
        return None
    panels: list[Panel] = []
    for name in names:
        words = f"{name}, iteration {iteration.iteration}" if name == names[0] else name
        panels += [
            _parity_panel(tables[name], "force", potential, name, colors, words),
            _parity_panel(tables[name], "energy", potential, name, colors, ""),
        ]
    return compose(
        [Row("", panels[k : k + 4]) for k in range(0, len(panels), 4)], height=5.0 if len(names) > 1 else 8.0
    )


def _pair(table: Mapping[str, Sequence[float]], kind: str) -> tuple[FloatArray, FloatArray]:
    labeled = np.asarray(table.get(kind, ()), dtype=np.float64)
    predicted = np.asarray(table.get(f"predicted_{kind}", ()), dtype=np.float64)
    # Energies from an arbitrary zero: of that of isolated atoms nothing would be seen.
    if kind == "energy" and labeled.size:
        zero = labeled.mean()
        return _MEV * (labeled - zero), _MEV * (predicted - zero)
    return labeled, predicted


def _rmse(table: Mapping[str, Sequence[float]], kind: str) -> float:
    labeled, predicted = _pair(table, kind)
    return float(np.sqrt(np.mean((labeled - predicted) ** 2))) if labeled.size else 0.0


def _parity_panel(
    table: Mapping[str, Sequence[float]],
    kind: str,
    potential: PotentialDocument,
    name: str,
    colors: Palette,
    title: str,
) -> Panel:
    labeled, predicted = _pair(table, kind)
    error = potential.held_out.get(name)
    value, uncertainty = _rmse(table, kind), None
    if error is not None:
        value, uncertainty = error.force_rmse, error.force_rmse_error
    if error is not None and kind == "energy":
        value, uncertainty = _MEV * error.energy_rmse, _MEV * (error.energy_rmse_error or 0.0)
    unit = "eV/\u00c5" if kind == "force" else "meV/atom"

    def draw(axes: Axes) -> None:
        if not labeled.size:
            axes.set_axis_off()
            return
        both = np.concatenate([labeled, predicted])
        margin = 0.05 * max(float(np.ptp(both)), 1e-3)
        limits = (both.min() - margin, both.max() + margin)
        axes.plot(limits, limits, color=DARK, linewidth=0.6, zorder=1)
        options: dict[str, Any] = {"marker": "o", "linestyle": "none", "markeredgewidth": 0, "zorder": 2}
        # Thousands of points: an image in every format.
        axes.plot(
            labeled,
            predicted,
            color=colors.colors[name] if name in colors.named else DARK,
            markersize=1.6 if kind == "force" else 3.0,
            alpha=0.5,
            rasterized=True,
            **options,
        )
        axes.set_xlim(*limits)
        axes.set_ylim(*limits)
        axes.set_aspect("equal")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(MaxNLocator(nbins=3, steps=[1, 2, 5, 10]))
        words = "force" if kind == "force" else "energy,\nfrom its mean"
        axes.set_xlabel(f"labeled {words} ({unit})")
        axes.set_ylabel(f"predicted ({unit})")
        above = float(np.mean(predicted - labeled)) > 0
        # In the corner that the points leave free.
        axes.text(
            0.97 if above else 0.03,
            0.03 if above else 0.97,
            f"RMSE {number(value, uncertainty)}",
            transform=axes.transAxes,
            ha="right" if above else "left",
            va="bottom" if above else "top",
            bbox={"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1.0},
            zorder=3,
        )
        if title:
            axes.set_title(title, loc="left")

    return draw
