"""Mean squared displacements, and whether they have become diffusive."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt
from pydantic import Field

from laoc_flows.analysis.trajectories.frame import Column, FloatArray, Result
from laoc_flows.analysis.trajectories.paths import CARRIER, Drift
from laoc_flows.analysis.trajectories.series import FrameSeries
from laoc_flows.analysis.transport.displacements import atom_series, chosen_atoms, mean_squares, spread_lags
from laoc_flows.errors import InputError

JUMP_LENGTH = 3.0
"""Length a [A] of one hop in N_eff = total squared displacement / a^2."""
ALPHA_RANGE = (0.9, 1.1)
"""Local exponents that count as diffusive."""

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


class MSDPerParticle(Result):
    """Mean squared displacement of every single atom of one element, over all time origins."""

    species: str = Field(description="The element.")
    drift: Drift = Field(description="What was held at rest: 'framework', 'com' or 'none'.")
    atoms: tuple[int, ...] = Field(description="Indices of the atoms.")
    duration: float = Field(description="Length of the run [ps].", ge=0)
    lag_time: tuple[float, ...] = Field(description="Lags [ps], at most half the run.")
    value: Column = Field(
        description="Mean squared displacement per lag and atom [A^2], shape (n_lags, n_atoms)."
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
        description="Total squared displacement of all independent atoms over the run in units of a^2.", ge=0
    )
    reason: str = Field(description="Why the status is what it is.")
    lag_time: tuple[float, ...] = Field(
        default=(), description="Lags at which the local exponent is known [ps]."
    )
    exponent: tuple[float, ...] = Field(default=(), description="d ln MSD / d ln t at each of them.")


class WindowCriteria(TypedDict, total=False):
    """What `diffusive_window` demands; see there."""

    alpha_range: tuple[float, float]
    min_decades: float
    min_n_eff: float
    jump_length: float
    min_lag: float
    half_width: float


class _Exponents(NamedTuple):
    log_t: FloatArray
    log_msd: FloatArray
    inner: FloatArray
    alpha: FloatArray


def msd(
    trajectory: FrameSeries,
    species: str,
    drift: Drift = "framework",
    carrier: str = CARRIER,
    *,
    atoms: npt.ArrayLike | None = None,
) -> MSDResult:
    """Compute the mean squared displacement of one element.

    Parameters
    ----------
    trajectory : FrameSeries
        A run at constant cell.
    species : str
        The element.
    drift : {"framework", "com", "none"}, default "framework"
        What is held at rest, see `FrameSeries.paths`.
    carrier : str, default "Li"
        The mobile element, which is not part of the framework.
    atoms : array_like of int, shape (n,), optional
        Indices of the atoms to average over, all of that element; every atom of it by default.

    Returns
    -------
    MSDResult
        Lags up to half the run. Without columns when the element is absent or there are fewer than three frames.

    Raises
    ------
    TrajectoryError
        When the cell varies or the positions cannot be unwrapped.
    InputError
        When one of `atoms` is no atom of the element, or is named twice.

    Notes
    -----
    Calandrini et al., Collection SFN 12, 201 (2011), section 4.2: the correlation part by FFT, in
    O(n_frames log n_frames). Besides the paths it needs about 100 MiB, or 150 bytes per frame if that is more.

    Examples
    --------
    >>> import numpy as np
    >>> from laoc_flows.analysis import Trajectory
    >>> steps = np.random.default_rng(0).normal(0, 0.5, (2000, 8, 3))
    >>> run = Trajectory(("Li",) * 8, np.cumsum(steps, axis=0), 10 * np.eye(3), time_step=1.0)
    >>> result = msd(run, "Li", drift="none")
    >>> round(result.value[9] / result.lag_time[9], 2)  # 3 * 0.5^2 per step
    0.75
    """
    chosen = chosen_atoms(trajectory, species, atoms)
    n_frames = trajectory.n_frames
    n_lags = (n_frames - 1) // 2 if chosen.size else 0
    lags = np.arange(1, n_lags + 1)
    per_axis = np.zeros((n_lags, 3))
    if n_lags:
        for series in atom_series(trajectory.paths(drift, carrier), chosen):
            per_axis += mean_squares(series, n_lags, summed=True).T
        # Rounding of the FFT may leave -1e-15 for an atom that does not move along an axis.
        per_axis = np.maximum(per_axis / chosen.size, 0.0)
    return MSDResult(
        species=species,
        drift=drift,
        n_particles=chosen.size,
        duration=trajectory.duration,
        lag_time=tuple((lags * trajectory.time_step).tolist()),
        value=tuple(per_axis.sum(axis=1).tolist()),
        per_axis=tuple((x, y, z) for x, y, z in per_axis.tolist()),
        n_windows=tuple(((n_frames - 1) // lags).tolist()),
    )


def msd_per_particle(
    trajectory: FrameSeries,
    species: str,
    drift: Drift = "framework",
    carrier: str = CARRIER,
    *,
    atoms: npt.ArrayLike | None = None,
    max_lags: int = 200,
) -> MSDPerParticle:
    """Compute the mean squared displacement of every atom of one element by itself.

    Parameters
    ----------
    trajectory : FrameSeries
        A run at constant cell.
    species : str
        The element.
    drift : {"framework", "com", "none"}, default "framework"
        What is held at rest, see `FrameSeries.paths`.
    carrier : str, default "Li"
        The mobile element, which is not part of the framework.
    atoms : array_like of int, shape (n,), optional
        Indices of the atoms, all of that element; every atom of it by default.
    max_lags : int, default 200
        Number of lags to keep at most, evenly spaced in the logarithm of time.

    Returns
    -------
    MSDPerParticle
        Lags up to half the run. Without rows when there are fewer than three frames.

    Raises
    ------
    TrajectoryError
        When the cell varies or the positions cannot be unwrapped.
    InputError
        When one of `atoms` is no atom of the element or is named twice, or `max_lags` is not positive.

    Notes
    -----
    An atom that jumps for ever between places on a sphere of radius r about a resting center plateaus at 2 r^2.

    Examples
    --------
    >>> import numpy as np
    >>> from laoc_flows.analysis import Trajectory
    >>> angle = np.random.default_rng(0).uniform(0, 2 * np.pi, 4000)
    >>> rotor = 2.15 * np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    >>> run = Trajectory(("Al", "Cl"), np.stack([0 * rotor, rotor], axis=1), 12 * np.eye(3), 1.0)
    >>> round(float(msd_per_particle(run, "Cl", drift="none").value.mean()), 1)  # 2 * 2.15^2 = 9.245
    9.2
    """
    if max_lags < 1:
        message = f"max_lags is {max_lags}, not at least 1"
        raise InputError(message)
    chosen = chosen_atoms(trajectory, species, atoms)
    n_lags = (trajectory.n_frames - 1) // 2
    lags = spread_lags(1, n_lags, max_lags)
    value = np.zeros((lags.size, chosen.size))
    if value.size:
        done = 0
        for series in atom_series(trajectory.paths(drift, carrier), chosen):
            squared = mean_squares(series, n_lags, summed=False).sum(axis=1)
            value[:, done : done + len(series)] = np.maximum(squared[:, lags - 1].T, 0.0)
            done += len(series)
    return MSDPerParticle(
        species=species,
        drift=drift,
        atoms=tuple(chosen.tolist()),
        duration=trajectory.duration,
        lag_time=tuple((lags * trajectory.time_step).tolist()),
        value=value,
    )


def diffusive_window(
    result: MSDResult,
    *,
    alpha_range: tuple[float, float] = ALPHA_RANGE,
    min_decades: float = 0.5,
    min_n_eff: float = 30.0,
    jump_length: float = JUMP_LENGTH,
    min_lag: float = 1.0,
    half_width: float = 0.1,
    copies: int = 1,
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
    copies : int, default 1
        Number of exact copies of a smaller cell that the run was started from. They may move alike, so N_eff
        counts the atoms of one copy only.

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

    Examples
    --------
    >>> import numpy as np
    >>> from laoc_flows.analysis import Trajectory
    >>> steps = np.random.default_rng(0).normal(0, 0.5, (2000, 8, 3))
    >>> run = Trajectory(("Li",) * 8, np.cumsum(steps, axis=0), 10 * np.eye(3), time_step=1.0)
    >>> diffusive_window(msd(run, "Li", drift="none")).status
    'diffusive'
    """
    if min(min_decades, jump_length, half_width) <= 0 or alpha_range[0] >= alpha_range[1]:
        message = f"{alpha_range = }, {min_decades = }, {jump_length = } and {half_width = } define no window"
        raise InputError(message)
    check_copies(copies)
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
    n_eff = float(squared * result.n_particles / (copies * jump_length**2))
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
    return DiffusiveWindow(
        status=status,
        alpha=alpha,
        window=window,
        n_eff=n_eff,
        reason=reason,
        lag_time=tuple((10**exponents.inner).tolist()),
        exponent=tuple(exponents.alpha.tolist()),
    )


def check_copies(copies: int) -> None:
    """Refuse a number of copies that is none.

    Parameters
    ----------
    copies : int
        Number of exact copies of a smaller cell that a run was started from.

    Raises
    ------
    InputError
        When it is below one.
    """
    if copies < 1:
        message = f"copies = {copies} is not the number of copies of a smaller cell that the run started from"
        raise InputError(message, remedy="give 1 for a run that did not start from copies")


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
