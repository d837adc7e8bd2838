"""The figure of a melt-quench run: what its temperature, its pressure and its density really did."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.units import mol
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from laoc_flows.analysis.trajectories.frame import FloatArray
from laoc_flows.report.figure_labels import number
from laoc_flows.report.style import DARK, LIGHT, Row, compose
from laoc_flows.schemas.base import Measured
from laoc_flows.schemas.glass import GlassStatus, StructureDocument
from laoc_flows.schemas.label import StageRecord

_SHADES = ("#dce9f5", "#fbe5d6", "#e2f0d9", "#efe3f2", "#fff2cc", "#e5e5e5")
_GOOD, _BAD = "#009e73", "#d55e00"
_POINTS = 120
_LEAST = 4
_CM3 = 1e24
_NOTHING = 1e-12
_LINE = 112
_KEY_LINE = 38


class _Stage(NamedTuple):
    record: StageRecord
    start: float
    stop: float
    shade: str


class _Curve(NamedTuple):
    time: FloatArray
    temperature: FloatArray
    pressure: FloatArray
    volume: FloatArray


def melt_quench(structure: StructureDocument, profile: Mapping[str, Sequence[Any]]) -> Figure | None:
    """Draw temperature, total pressure and density of a melt-quench run against time.

    Parameters
    ----------
    structure : StructureDocument
        What became of the run: its stages, the state of its melt, its quench rate and its status.
    profile : mapping of str to sequence
        The run over time, as the blob `structure.profile` holds it: stage, time_ps, temperature_K, pressure_GPa,
        potential_energy_eV, volume_angstrom3.

    Returns
    -------
    matplotlib.figure.Figure or None
        Stages are shaded. Targets of thermostat and barostat are dashed, means over blocks are dark, and every
        volume that a density equilibration tried has its mean pressure with two standard errors, within or outside
        its tolerance. A cell that was refused, and a pressure that was not reached, are said in words above. None
        without a single point.

    Examples
    --------
    >>> from laoc_flows.blobs import BlobRef
    >>> from laoc_flows.schemas.base import Provenance
    >>> place = Provenance(campaign_id="c", campaign_seed=1, composition_id="x1.000-y0.000", stage="seed")
    >>> record = StageRecord(
    ...     name="melt", ensemble="nvt", status="completed", n_steps=2, time_step=1.0, time=0.002,
    ...     start_target=900.0, end_target=900.0, first_frame=0, n_frames=0,
    ... )
    >>> document = StructureDocument(
    ...     key="0", campaign_id="c", provenance=place, status="refused: not melted", reason="too short",
    ...     level_of_theory="xtb", potential_key=None, formula="Li2Al2Cl8", n_atoms=12, x=1.0, y=0.0,
    ...     links_expected=0.0, structure=BlobRef(sha256="0" * 64, size=1, media_type="x/y"), melt_displacement={},
    ...     stages=(record,),
    ... )
    >>> columns = ("temperature_K", "pressure_GPa", "potential_energy_eV", "volume_angstrom3")
    >>> values = {"stage": ["melt"] * 2, "time_ps": [0.001, 0.002], **{name: [1.0, 2.0] for name in columns}}
    >>> melt_quench(document, values).axes[0].get_title("left").splitlines()[-1]
    'refused: not melted (too short)'
    """
    curve = _Curve(
        *(
            np.asarray(profile[name], dtype=np.float64)
            for name in ("time_ps", "temperature_K", "pressure_GPa", "volume_angstrom3")
        )
    )
    if not curve.time.size:
        return None
    stages = _stages(structure.stages, profile["stage"], curve.time)
    # Grams per mole of cells: over a volume in cubic angstrom it is a density.
    mass = float(Atoms(structure.formula).get_masses().sum()) / mol * _CM3

    def inverse(values: npt.ArrayLike) -> FloatArray:
        # An axis that is set up passes zero for a moment.
        return np.asarray(mass / np.maximum(values, _NOTHING))

    def temperature(axes: Axes) -> None:
        _shade(axes, stages)
        _draw(axes, curve.time, curve.temperature, stages)
        for stage in stages:
            ends = (stage.record.start_target, stage.record.end_target)
            axes.plot((stage.start, stage.stop), ends, "--", color=_BAD, linewidth=0.8)
        axes.set_ylabel("temperature (K)")
        axes.set_ylim(bottom=0)
        axes.set_title(_title(structure), loc="left", color=DARK if _fine(structure) else _BAD)

    def pressure(axes: Axes) -> None:
        _shade(axes, stages)
        _draw(axes, curve.time, curve.pressure, stages)
        for stage in stages:
            _pressures(axes, stage)
        axes.set_ylabel("total pressure (GPa)")
        axes.set_ylim(*_limits(curve.pressure, stages))

    def density(axes: Axes) -> None:
        _shade(axes, stages)
        # Cells scale at once: nothing is averaged.
        axes.plot(curve.time, mass / curve.volume, color=DARK, linewidth=0.8)
        axes.set_ylabel("density (g/cm³)")
        axes.set_xlabel("time (ps)")
        other = axes.secondary_yaxis("right", functions=(inverse, inverse))
        other.set_ylabel("volume (Å³)")

    return compose(
        [
            Row("", [temperature, lambda axes: _stage_key(axes, stages)]),
            Row("", [pressure, lambda axes: _pressure_key(axes, stages)]),
            Row("", [density, _no_key]),
        ],
        widths=(2.0, 1.0),
        height=4.6,
    )


def _fine(structure: StructureDocument) -> bool:
    return structure.status is GlassStatus.GLASS and not structure.warnings


def _title(structure: StructureDocument) -> str:
    """Say what the run was and what is wrong with it."""
    place = structure.provenance
    lines = [f"{structure.formula}, {place.stage} {place.replica}, {structure.level_of_theory}"]
    melt, rate = structure.melt, structure.quench_rate
    found = ["no stage that melts" if melt is None else melt.reason]
    if rate is not None:
        asked = f" (asked: {place.quench_rate:g})" if place.quench_rate is not None else ""
        found.append(f"quenched at {_measured(rate)} K/ps{asked}")
    lines.append("; ".join(found))
    lines += [f"warning: {text}" for text in structure.warnings]
    if structure.status is not GlassStatus.GLASS:
        # The reason of a melt that is none is in the line above.
        told = melt is not None and structure.reason == melt.reason
        reason = f" ({structure.reason})" if structure.reason and not told else ""
        lines.append(f"{structure.status.value}{reason}")
    return "\n".join(line for text in lines for line in textwrap.wrap(text, _LINE))


def _measured(found: Measured) -> str:
    return number(found.value, found.standard_error)


def _stages(records: Sequence[StageRecord], names: Sequence[str], time: FloatArray) -> list[_Stage]:
    """Records of the stages that the profile shows, with their times; both end with the same stage."""
    groups = [(name, [int(k) for k, _ in group]) for name, group in groupby(enumerate(names), lambda e: e[1])]
    left = list(records)
    found: list[tuple[StageRecord, int]] = []
    for name, points in reversed(groups):
        while left and left[-1].name != name:
            left.pop()
        if left:
            found.append((left.pop(), points[-1]))
    stages: list[_Stage] = []
    start = 0.0
    for k, (record, _) in enumerate(reversed(found)):
        stop = start + record.time
        stages.append(_Stage(record, start, stop, _SHADES[k % len(_SHADES)]))
        start = stop
    if stages:
        # Times of the profile are means of rows: the last one is before the end.
        stages[-1] = stages[-1]._replace(stop=max(stages[-1].stop, float(time[-1])))
    return stages


def _shade(axes: Axes, stages: Sequence[_Stage]) -> None:
    for stage in stages:
        axes.axvspan(stage.start, stage.stop, color=stage.shade, linewidth=0)
    axes.margins(x=0)


def _draw(axes: Axes, time: FloatArray, values: FloatArray, stages: Sequence[_Stage]) -> None:
    """Draw a curve as it is, and its means over blocks that end where a stage or a volume ends."""
    axes.plot(time, values, color=LIGHT, linewidth=0.4)
    total = max(float(time[-1]), _NOTHING)
    bounds = [0.0]
    for stage in stages:
        bounds += _ends(stage)
    for start, stop in pairwise(bounds):
        picked = np.flatnonzero((time > start) & (time <= stop))
        n_blocks = min(picked.size // 2, max(_LEAST, round(_POINTS * (stop - start) / total)))
        if n_blocks < 2:  # noqa: PLR2004 - a line needs two points
            continue
        blocks = np.array_split(picked, n_blocks)
        axes.plot(
            [time[block].mean() for block in blocks],
            [values[block].mean() for block in blocks],
            color=DARK,
            linewidth=0.9,
        )


def _ends(stage: _Stage) -> list[float]:
    """Times at which a stage ends, or one of the volumes that it tried."""
    times = stage.start + np.cumsum([attempt.time for attempt in stage.record.attempts])
    return [*(float(time) for time in times[:-1]), stage.stop]


def _pressures(axes: Axes, stage: _Stage) -> None:
    record = stage.record
    target, tolerance = record.target_pressure, record.pressure_tolerance
    if target is None:
        return
    ends = np.array([stage.start, stage.stop])
    axes.plot(ends, [target, target], "--", color=_BAD, linewidth=0.8)
    if tolerance is None:
        return
    axes.fill_between(ends, target - tolerance, target + tolerance, color=_GOOD, alpha=0.25, linewidth=0)
    start = stage.start
    for attempt, stop in zip(record.attempts, _ends(stage), strict=False):
        mean, error = attempt.pressure.value, attempt.pressure.standard_error
        sharp = error is not None and error <= tolerance
        color = _GOOD if sharp and abs(mean - target) <= tolerance else _BAD
        axes.errorbar(
            (start + stop) / 2,
            mean,
            yerr=None if error is None else 2 * error,
            xerr=(stop - start) / 2,
            color=color,
            marker="o",
            markersize=2.5,
            linewidth=0.9,
            capsize=1.5,
        )
        start = stop


def _limits(values: FloatArray, stages: Sequence[_Stage]) -> tuple[float, float]:
    """Range of the pressures that says something: instantaneous ones of a small cell go far beyond."""
    low, high = np.percentile(values, [2, 98])
    for stage in stages:
        for attempt in stage.record.attempts:
            error = 2 * (attempt.pressure.standard_error or 0.0)
            low, high = (
                min(low, attempt.pressure.value - error),
                max(high, attempt.pressure.value + error),
            )
        if stage.record.target_pressure is not None:
            around = stage.record.pressure_tolerance or 0.0
            low = min(low, stage.record.target_pressure - around)
            high = max(high, stage.record.target_pressure + around)
    margin = 0.05 * max(high - low, 0.1)
    return float(low - margin), float(high + margin)


def _stage_key(axes: Axes, stages: Sequence[_Stage]) -> None:
    handles: list[Artist] = []
    for stage in stages:
        record = stage.record
        state = "" if record.status == "completed" else f", {record.status}"
        handles.append(Patch(color=stage.shade, label=f"{record.name}, {record.time:.3g} ps{state}"))
    handles += [
        axes.plot([], [], "--", color=_BAD, linewidth=0.8, label="target")[0],
        axes.plot([], [], color=DARK, linewidth=0.9, label="means over blocks")[0],
    ]
    _no_key(axes)
    axes.legend(handles=handles, loc="upper left", borderaxespad=0.0)


def _pressure_key(axes: Axes, stages: Sequence[_Stage]) -> None:
    _no_key(axes)
    handles: list[Artist] = []
    for record in (stage.record for stage in stages):
        if record.pressure_tolerance is None:
            continue
        fine = record.status == "equilibrated"
        text = f"{record.name} {record.status} after {len(record.attempts)} volumes: {record.reason}"
        handles += [
            Patch(
                color=_GOOD,
                alpha=0.25,
                label=f"target ± tolerance, {record.target_pressure:g} ± {record.pressure_tolerance:g} GPa",
            ),
            axes.plot([], [], "o-", color=_GOOD, markersize=2.5, label="mean ± 2 standard errors, within")[0],
            axes.plot([], [], "o-", color=_BAD, markersize=2.5, label="outside, or too uncertain")[0],
            Patch(
                color="none",
                label="\n".join(textwrap.wrap(text, _KEY_LINE)),
            ),
        ]
        # The last one says whether it worked.
        handles[-1].set_gid("good" if fine else "bad")
    if not handles:
        return
    made = axes.legend(handles=handles, loc="upper left", borderaxespad=0.0)
    for handle, written in zip(handles, made.get_texts(), strict=True):
        if handle.get_gid() == "bad":
            written.set_color(_BAD)


def _no_key(axes: Axes) -> None:
    axes.set_axis_off()
