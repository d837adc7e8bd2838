"""Mean squared displacements, and whether they have become diffusive."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from pydantic import Field

from laoc_flows.analysis.frame import FloatArray, Result, species_indices
from laoc_flows.analysis.paths import Drift
from laoc_flows.analysis.trajectory import Trajectory
from laoc_flows.errors import InputError, TrajectoryError

JUMP_LENGTH = 3.0
"""Length a [A] of one hop in N_eff = total squared displacement / a^2."""

_BATCH = 64
_GRID = 0.05


class MSDResult(Result):
    """Mean squared displacement of one element, over all time origins and atoms."""

    species: str = Field(description="The element.")
    drift: Drift = Field(description="What was held at rest: 'framework', 'com' or 'none'.")
    n_particles: int = Field(description="Number of atoms of the element.", ge=0)
    duration: float = Field(description="Length of the run [ps].", ge=0)
    lag_time: tuple[float, ...] = Field(description="Lags [ps], from one time step to half the run.")
    value: tuple[float, ...] = Field(description="Mean squared displacement at each lag [A^2].")
    per_axis: tuple[tuple[float, float, float], ...] = Field(
        description="Its Cartesian x, y and z parts at each lag [A^2]; they sum to `value`."
    )
    n_windows: tuple[int, ...] = Field(
        description="Number of non-overlapping windows of each lag in the run."
    )


class DiffusiveWindow(Result):
    """Whether, and where, a mean squared displacement is diffusive."""

    status: Literal["diffusive", "subdiffusive", "insufficient"] = Field(
        description="Only 'diffusive' allows a diffusion coefficient; otherwise MSD / 6t is an upper bound."
    )
    alpha: float | None = Field(
        description="d ln MSD / d ln t over the window, or over the last half decade of lags without one."
    )
    window: tuple[float, float] | None = Field(description="First and last diffusive lag [ps].")
    n_eff: float = Field(
        description="Total squared displacement of all atoms over the run in units of a^2.", ge=0
    )
    reason: str = Field(description="Why the status is what it is.")


class _Exponents(NamedTuple):
    log_t: FloatArray
    log_msd: FloatArray
    inner: FloatArray
    alpha: FloatArray


def msd(trajectory: Trajectory, species: str, drift: Drift = "framework") -> MSDResult:
    """Compute the mean squared displacement of one element.

    Parameters
    ----------
    trajectory : Trajectory
        A run at constant cell.
    species : str
        The element.
    drift : {"framework", "com", "none"}, default "framework"
        What is held at rest, see `Trajectory.unwrapped_fractional`.

    Returns
    -------
    MSDResult
        Lags up to half the run. Without columns when the element is absent or there are fewer than three frames.

    Raises
    ------
    TrajectoryError
        When the cell varies or the positions cannot be unwrapped.

    Notes
    -----
    Calandrini et al., Collection SFN 12, 201 (2011), section 4.2: the correlation part by FFT.
    """
    if not trajectory.constant_cell:
        message = "the cell varies, and displacements in it are not diffusion"
        raise TrajectoryError(message, remedy="take the MSD from an NVT run at the mean volume")
    n_frames = trajectory.n_frames
    chosen = species_indices(trajectory.species, species)
    n_lags = (n_frames - 1) // 2 if chosen.size else 0
    lags = np.arange(1, n_lags + 1)
    per_axis = np.zeros((n_lags, 3))
    if n_lags:
        positions = trajectory.unwrapped(drift)[:, chosen]
        for first in range(0, chosen.size, _BATCH):
            per_axis += _sum_over_atoms(positions[:, first : first + _BATCH], n_lags)
        # Rounding of the FFT may leave -1e-15 for an atom that does not move along an axis.
        per_axis = np.maximum(per_axis / chosen.size, 0.0)
    return MSDResult(
        species=species,
        drift=drift,
        n_particles=chosen.size,
        duration=(n_frames - 1) * trajectory.time_step,
        lag_time=tuple((lags * trajectory.time_step).tolist()),
        value=tuple(per_axis.sum(axis=1).tolist()),
        per_axis=tuple((float(x), float(y), float(z)) for x, y, z in per_axis),
        n_windows=tuple(((n_frames - 1) // lags).tolist()),
    )


def _sum_over_atoms(positions: FloatArray, n_lags: int) -> FloatArray:
    """Return the mean over origins, summed over atoms, of the squared displacement per lag and axis."""
    n = len(positions)
    # Centered, because the FFT loses the digits that a large constant offset takes.
    centered = positions - positions.mean(axis=0)
    length = 1 << (2 * n - 1).bit_length()
    spectrum = np.fft.rfft(centered, n=length, axis=0)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2, n=length, axis=0)[1 : n_lags + 1].sum(axis=1)
    squares = np.concatenate([np.zeros((1, 3)), np.cumsum((centered**2).sum(axis=1), axis=0)])
    lags = np.arange(1, n_lags + 1)
    starts, ends = squares[n - lags], squares[n] - squares[lags]
    return np.asarray((starts + ends - 2 * correlation) / (n - lags)[:, None])


def diffusive_window(
    result: MSDResult,
    *,
    alpha_range: tuple[float, float] = (0.9, 1.1),
    min_decades: float = 0.5,
    min_n_eff: float = 30.0,
    jump_length: float = JUMP_LENGTH,
    min_lag: float = 1.0,
    half_width: float = 0.1,
) -> DiffusiveWindow:
    """Decide from the local exponent whether a mean squared displacement is diffusive.

    Parameters
    ----------
    result : MSDResult
        From `msd`.
    alpha_range : tuple of float, default (0.9, 1.1)
        Local exponents that count as diffusive.
    min_decades : float, default 0.5
        Shortest diffusive window [decades of lag time].
    min_n_eff : float, default 30
        Smallest N_eff.
    jump_length : float, default 3.0
        The a in N_eff = N MSD(t) (T / t) / a^2, with t the last diffusive lag (the last lag without a window)
        and T the length of the run [A].
    min_lag : float, default 1.0
        Shorter lags are ballistic or vibrational and do not count [ps].
    half_width : float, default 0.1
        The exponent at t is the slope of a line through the lags from t / 10^h to t 10^h [decades].

    Returns
    -------
    DiffusiveWindow
        ``"diffusive"`` needs a window and N_eff; the latest window counts, and only if less than `min_decades` of
        lags follow it. Otherwise ``"subdiffusive"`` when the last lags have an exponent below the range, or
        ``"insufficient"`` when the run is too short, N_eff too small, or the motion not yet diffusive.

    Raises
    ------
    InputError
        When a parameter is not positive.
    """
    if min(min_decades, jump_length, half_width) <= 0 or alpha_range[0] >= alpha_range[1]:
        message = f"{alpha_range = }, {min_decades = }, {jump_length = } and {half_width = } define no window"
        raise InputError(message)
    if result.n_particles == 0:
        return _insufficient(f"there is no {result.species}")
    exponents = _local_exponents(result, min_lag, half_width)
    if exponents is None:
        return _insufficient(
            f"fewer than {2 * half_width:g} decades of lags with motion from {min_lag:g} ps on"
        )
    n_points = round(min_decades / _GRID) + 1
    run = _last_run(exponents, alpha_range, n_points)
    last = exponents.inner[run[-1]] if run is not None else exponents.log_t[-1]
    squared = 10.0 ** (np.interp(last, exponents.log_t, exponents.log_msd) - last) * result.duration
    n_eff = float(squared * result.n_particles / jump_length**2)
    if run is not None:
        inside = exponents.inner[run]
        window = (float(10 ** inside[0]), float(10 ** inside[-1]))
        alpha = _slope(inside, np.interp(inside, exponents.log_t, exponents.log_msd))
    else:
        window = None
        alpha = _slope(exponents.log_t[-n_points:], exponents.log_msd[-n_points:])
    facts = f"alpha = {alpha:.2f}, N_eff = {n_eff:.3g}"
    status: Literal["diffusive", "subdiffusive", "insufficient"] = "insufficient"
    if n_eff < min_n_eff:
        reason = f"N_eff below {min_n_eff:g} ({facts})"
    elif window is not None:
        status = "diffusive"
        reason = f"diffusive from {window[0]:.3g} to {window[1]:.3g} ps ({facts})"
    elif len(exponents.inner) < n_points:
        reason = (
            f"the lags do not span {min_decades + 2 * half_width:g} decades from {min_lag:g} ps on ({facts})"
        )
    elif alpha < alpha_range[0]:
        status = "subdiffusive"
        reason = f"the exponent of the last lags is below {alpha_range[0]:g} ({facts})"
    else:
        reason = (
            f"no {min_decades:g} decades within {alpha_range[0]:g}-{alpha_range[1]:g} up to the end ({facts})"
        )
    return DiffusiveWindow(status=status, alpha=alpha, window=window, n_eff=n_eff, reason=reason)


def _insufficient(reason: str) -> DiffusiveWindow:
    return DiffusiveWindow(status="insufficient", alpha=None, window=None, n_eff=0.0, reason=reason)


def _slope(x: FloatArray, y: FloatArray) -> float:
    centered = x - x.mean()
    return float(centered @ y / (centered @ centered))


def _local_exponents(result: MSDResult, min_lag: float, half_width: float) -> _Exponents | None:
    """Resample ln MSD evenly in ln t, so that every decade weighs the same, and differentiate it."""
    lag, value = np.array(result.lag_time), np.array(result.value)
    usable = (lag >= min_lag * (1 - 1e-9)) & (value > 0)
    half = max(1, round(half_width / _GRID))
    if usable.sum() <= 2:  # noqa: PLR2004 - a slope needs more
        return None
    x, y = np.log10(lag[usable]), np.log10(value[usable])
    n_grid = int((x[-1] - x[0]) / _GRID + 1e-9) + 1
    if n_grid <= 2 * half:
        return None
    log_t = x[-1] - _GRID * np.arange(n_grid)[::-1]
    log_msd = np.interp(log_t, x, y)
    offsets = np.arange(-half, half + 1)
    weights = offsets / (offsets @ offsets * _GRID)
    alpha = np.correlate(log_msd, weights, mode="valid")
    return _Exponents(log_t, log_msd, log_t[half:-half], alpha)


def _last_run(exponents: _Exponents, alpha_range: tuple[float, float], n_points: int) -> FloatArray | None:
    """Return the indices of the last long enough diffusive stretch, unless another regime follows it."""
    inside = (exponents.alpha >= alpha_range[0]) & (exponents.alpha <= alpha_range[1])
    borders = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(int)))
    runs = [np.arange(a, b) for a, b in zip(borders[::2], borders[1::2], strict=True) if b - a >= n_points]
    if not runs or len(inside) - runs[-1][-1] > n_points:
        return None
    return np.asarray(runs[-1])
