"""What a stage has really done, out of its rows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from ase.data import atomic_masses, atomic_numbers
from ase.units import mol

from laoc_flows.analysis import block_average
from laoc_flows.engines.recording import Recording
from laoc_flows.schemas.base import Measured
from laoc_flows.schemas.label import Attempt, StageRecord
from laoc_flows.schemas.protocol import Stage

_LAST = 0.1
_LEAST_ROWS = 10
_BLOCKS = 5
_TELLING = 1.0
"""Length from which a stage says something of its temperature and pressure [ps]."""
_MEMORY = 0.5
"""Time after which a kinetic temperature has forgotten itself [ps]."""
_ERRORS, _HALF_A_TENTH, _PRESSURE = 3.0, 0.05, 0.5
_CM3 = 1e24
_PROFILE_POINTS = 2000
_CURVES = ("temperature_K", "pressure_GPa", "potential_energy_eV", "volume_angstrom3")


def record_stage(
    recording: Recording,
    index: int,
    stage: Stage,
    *,
    time_step: float,
    n_steps: int,
    since: int,
    attempts: tuple[Attempt, ...],
    status: str,
    reason: str,
) -> StageRecord:
    """Record of a stage that has ended, however it did.

    Parameters
    ----------
    recording : Recording
        Run so far.
    index : int
        Stage.
    stage : Stage
        What was asked for.
    time_step : float
        MD time step [fs].
    n_steps : int
        Steps made.
    since : int
        Step at which the last volume began: averages over several volumes would be of none of them.
    attempts : tuple of Attempt
        Volumes of a density equilibration.
    status, reason : str
        How it ended, and the numbers behind that.
    """
    rows = recording.of_stage(index)
    rows = rows[rows[:, 1] > since]
    frames = recording.frames_of([index])
    known: dict[str, Any] = {}
    if len(rows):
        steps, temperature, pressure, volume = rows[:, 1], rows[:, 2], rows[:, 3], rows[:, 5]
        last = max(_LEAST_ROWS, int(_LAST * len(rows)))
        # On a ramp the mean of the last tenth would be that of a temperature on the way: it is how far the cell
        # is from its target that is averaged.
        slope = (stage.end_temperature - stage.start_temperature) / stage.steps(time_step)
        still_to_go = slope * (steps[-1] - steps)
        known = {
            "temperature": block_average(temperature, "K"),
            "final_temperature": _final_temperature(
                (temperature + still_to_go)[-last:],
                (steps[-1] - steps[-last:][0]) * time_step / 1000.0,
                len(recording.symbols),
            ),
            "rate": _rate(steps * time_step / 1000.0, temperature) if stage.cools else None,
            "pressure": block_average(pressure, "GPa"),
            "density": block_average(_mass(recording.symbols) * _CM3 / volume, "g/cm^3"),
            "volume": float(volume[-1]),
        }
    return StageRecord(
        name=stage.name,
        ensemble=stage.ensemble,
        status=status,
        reason=reason,
        n_steps=n_steps,
        time_step=time_step,
        time=n_steps * time_step / 1000.0,
        start_target=stage.start_temperature,
        end_target=stage.end_temperature,
        attempts=attempts,
        target_pressure=stage.pressure if stage.equilibrate is not None or stage.ensemble == "npt" else None,
        pressure_tolerance=stage.equilibrate.tolerance if stage.equilibrate is not None else None,
        first_frame=int(frames[0]) if len(frames) else recording.n_frames,
        n_frames=len(frames),
        **known,
    )


def _final_temperature(temperature: np.ndarray, time: float, n_atoms: int) -> Measured:
    """Mean with an error that a window of few independent samples cannot make too small.

    A cell in contact with a bath has a kinetic temperature that fluctuates by T sqrt(2 / (3 N - 3)).
    """
    mean = block_average(temperature, "K")
    fluctuation = abs(mean.value) * np.sqrt(2.0 / max(1, 3 * n_atoms - 3))
    floor = float(fluctuation / np.sqrt(max(1.0, time / _MEMORY)))
    return mean.model_copy(update={"standard_error": max(mean.standard_error or 0.0, floor)})


def quench_rate(records: Sequence[StageRecord]) -> Measured | None:
    """Cooling rate really achieved by the last ramp that cools, None without one."""
    rates = [record.rate for record in records if record.rate is not None]
    return rates[-1] if rates else None


def warnings_of(records: Sequence[StageRecord]) -> tuple[str, ...]:
    """What does not refuse a cell and has to be known.

    A density that was not equilibrated, a temperature that was not reached, and a last run at constant volume whose
    mean pressure is not that of the protocol: the cell is not at its density.

    Parameters
    ----------
    records : sequence of StageRecord
        Stages of a run, in order.
    """
    found = []
    for record in records:
        if record.status == "not equilibrated":
            found.append(f"{record.name}: {record.status}, {record.reason}")
        reached = record.final_temperature
        if record.status != "stopped" and record.time >= _TELLING and reached is not None:
            off = abs(reached.value - record.end_target)
            if off > max(_HALF_A_TENTH * record.end_target, _ERRORS * (reached.standard_error or 0.0)):
                found.append(f"{record.name}: ended at {reached.value:.0f} K, not at {record.end_target:g} K")
    return (*found, *_pressure_warning(records))


def _pressure_warning(records: Sequence[StageRecord]) -> tuple[str, ...]:
    if not records or records[-1].status == "stopped" or records[-1].time < _TELLING:
        return ()
    last, targets = (
        records[-1],
        [record.target_pressure for record in records if record.target_pressure is not None],
    )
    if last.ensemble != "nvt" or last.target_pressure is not None or last.pressure is None:
        return ()
    target = targets[-1] if targets else 0.0
    error = last.pressure.standard_error or 0.0
    if abs(last.pressure.value - target) <= max(_PRESSURE, _ERRORS * error):
        return ()
    numbers = f"{last.pressure.value:.2f} +- {error:.2f} GPa, not {target:g} GPa"
    return (f"{last.name}: the mean pressure at this volume is {numbers}: the cell is not at its density",)


def profile_of(recording: Recording, stages: Sequence[Stage], time_step: float) -> bytes:
    """A run over time as JSON, thinned to means of neighboring rows.

    Parameters
    ----------
    recording : Recording
        Run.
    stages : sequence of Stage
        Its protocol.
    time_step : float
        MD time step of the stages that do not set their own [fs].

    Returns
    -------
    bytes
        Columns of equal length: stage, time_ps, temperature_K, pressure_GPa, potential_energy_eV,
        volume_angstrom3; some two thousand points.
    """
    curves: dict[str, list[Any]] = {name: [] for name in ("stage", "time_ps", *_CURVES)}
    elapsed = 0.0
    total = sum(len(rows) for rows in recording.rows)
    for index, stage in enumerate(stages):
        rows = recording.of_stage(index)
        if not len(rows):
            continue
        step = (stage.time_step or time_step) / 1000.0
        n_points = max(1, min(len(rows), round(_PROFILE_POINTS * len(rows) / total)))
        for block in np.array_split(rows, n_points):
            mean = block.mean(axis=0)
            curves["stage"].append(stage.name)
            curves["time_ps"].append(round(elapsed + float(mean[1]) * step, 6))
            for name, value in zip(_CURVES, mean[2:], strict=True):
                curves[name].append(round(float(value), 5))
        elapsed += float(rows[-1, 1]) * step
    return json.dumps(curves, sort_keys=True).encode()


def _rate(time: np.ndarray, temperature: np.ndarray) -> Measured | None:
    """Cooling rate [K/ps], the slope of a line; its error from the slopes of lines through blocks' means."""
    if len(time) < 2 * _BLOCKS:
        return None
    centered = time - time.mean()
    slope = (centered * temperature).sum() / (centered**2).sum()
    # Neighboring temperatures are correlated: the scatter of block means about the line counts, not of steps.
    residual = temperature - temperature.mean() - slope * centered
    means = np.array([block.mean() for block in np.array_split(residual, _BLOCKS)])
    centers = np.array([block.mean() for block in np.array_split(centered, _BLOCKS)])
    variance = (means**2).sum() / (_BLOCKS - 2)
    error = float(np.sqrt(variance / ((centers - centers.mean()) ** 2).sum()))
    return Measured(value=float(-slope), standard_error=error, unit="K/ps", n_independent=_BLOCKS)


def _mass(symbols: tuple[str, ...]) -> float:
    return sum(float(atomic_masses[atomic_numbers[symbol]]) for symbol in symbols) / mol
