"""Equilibrating the density of a melt: is the pressure right, and if not, which volume is next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from laoc_flows.analysis import block_average
from laoc_flows.schemas.base import Measured
from laoc_flows.schemas.label import Attempt
from laoc_flows.schemas.protocol import DensityEquilibration

# A slope of pressure over volume outside this range of bulk moduli is noise, not compressibility [GPa].
_SOFTEST, _HARDEST = 1.0, 100.0
_SAME_VOLUME = 1e-6
_SIGNIFICANT = 2.0
_CURVED = 0.5
"""Error of a straight line, relative to the distance from the target [1]."""


class Step(NamedTuple):
    """What follows an attempt.

    Attributes
    ----------
    verdict : {"equilibrated", "longer", "volume", "exhausted"}
        Done; run on at this volume; change the volume; out of attempts.
    scale : float
        Linear scale of the cell that follows [1].
    reason : str
        The numbers behind it.
    """

    verdict: Literal["equilibrated", "longer", "volume", "exhausted"]
    scale: float
    reason: str


def mean_pressure(pressure: np.ndarray, settings: DensityEquilibration) -> Measured:
    """Block-averaged total pressure of a run at one volume, its beginning left out.

    Parameters
    ----------
    pressure : numpy.ndarray, shape (n,)
        Total pressure in time order [GPa].
    settings : DensityEquilibration
        What is discarded.
    """
    return block_average(pressure[int(settings.discard * len(pressure)) :], "GPa")


def next_step(attempts: Sequence[Attempt], runs: int, target: float, settings: DensityEquilibration) -> Step:
    """Decide what follows the last attempt.

    The next volume comes from a straight line of pressure over the logarithm of the volume through all
    attempts, each weighted with its standard error and its distance from the target; with one volume only, or where
    the line's bulk modulus is not that of any melt, from the guessed bulk modulus.

    Parameters
    ----------
    attempts : sequence of Attempt
        Volumes so far, at least one.
    runs : int
        Runs so far; several at one volume are one attempt.
    target : float
        Target of the total pressure [GPa].
    settings : DensityEquilibration
        Tolerance, number of attempts, largest change.

    Returns
    -------
    Step
        Verdict, and the linear scale of the cell [1].
    """
    last = attempts[-1].pressure
    error = last.standard_error
    away = last.value - target
    numbers = f"{last.value:.2f} +- {'?' if error is None else f'{error:.2f}'} GPa against {target:g} GPa"
    close = abs(away) <= settings.tolerance
    sharp = error is not None and error <= settings.tolerance
    if close and sharp:
        return Step("equilibrated", 1.0, f"{numbers}, tolerance {settings.tolerance:g}")
    if runs >= settings.attempts:
        return Step(
            "exhausted",
            1.0,
            f"{numbers}, tolerance {settings.tolerance:g} for mean and standard error, after {runs} runs",
        )
    # A deviation that its own standard error explains is no reason to move to another volume.
    if close or (error is not None and not sharp and abs(away) <= _SIGNIFICANT * error):
        return Step("longer", 1.0, f"{numbers}: the standard error is too large")
    scale = float(np.exp(_strain(attempts, away, target, settings) / 3.0))
    bounded = float(np.clip(scale, 1.0 / (1.0 + settings.max_strain), 1.0 + settings.max_strain))
    return Step("volume", bounded, f"{numbers}: the cell's edge changes by {100 * (bounded - 1):+.2f} %")


def _strain(attempts: Sequence[Attempt], away: float, target: float, settings: DensityEquilibration) -> float:
    """Change of the logarithm of the volume that should bring the pressure to its target [1]."""
    guess = away / settings.bulk_modulus
    logs = np.log([attempt.volume for attempt in attempts])
    if np.ptp(logs) < _SAME_VOLUME:
        return guess
    pressures = np.array([attempt.pressure.value for attempt in attempts])
    errors = np.array([attempt.pressure.standard_error or np.inf for attempt in attempts])
    finite = errors[np.isfinite(errors)]
    errors = np.where(np.isfinite(errors), errors, finite.max() if len(finite) else 1.0)
    # The equation of state is curved: a pressure far from the target, however well known, would bend the line.
    weights = 1.0 / np.hypot(errors, _CURVED * (pressures - target))
    slope, offset = np.polyfit(logs, pressures, 1, w=weights)
    if not _SOFTEST <= -slope <= _HARDEST:
        return guess
    # The line knows all volumes; stepping from the last one alone would follow its noise.
    strain = float((target - offset) / slope - logs[-1])
    return strain if strain * away > 0 else guess
