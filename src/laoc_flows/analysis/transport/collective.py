"""The displacement of all charges together, which the conductivity is made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from laoc_flows.analysis.trajectories.frame import FloatArray, IntArray
from laoc_flows.analysis.trajectories.paths import CARRIER, Drift, Paths
from laoc_flows.analysis.trajectories.series import CHUNK_BYTES, FrameSeries
from laoc_flows.analysis.transport.diffusion import TransportStatus, hop_limit, window_lags
from laoc_flows.analysis.transport.displacements import chosen_atoms, square_blocks
from laoc_flows.analysis.transport.msd import (
    ALPHA_RANGE,
    JUMP_LENGTH,
    WindowCriteria,
    check_copies,
    diffusive_window,
    msd,
)
from laoc_flows.analysis.transport.resampling import (
    Estimate,
    block_bootstrap,
    block_borders,
    slope_weights,
)
from laoc_flows.composition import FORMAL_CHARGES
from laoc_flows.errors import InputError

FIT_DECADES = 0.5
"""Decades of lags that the displacement of all charges is fitted over."""
BLOCK_LAGS = 2
"""Length of a block of time origins in units of the longest fitted lag."""

_MAX_BLOCKS = 100
_MAX_LAGS = 12
_NEUTRAL = 1e-6
_ZERO = 1e-12


class CollectiveBlocks(NamedTuple):
    """Squared displacements of all charges together, averaged over blocks of time origins.

    Parameters
    ----------
    status : {"diffusive", "subdiffusive", "insufficient", "empty"}
        Whether a line may be fitted; otherwise the only lag serves an upper bound.
    reason : str
        Why.
    alpha : float or None
        Exponent of the carrier's mean squared displacement.
    lag_time : ndarray, shape (n_lags,)
        Lags [ps].
    total : ndarray, shape (n_blocks, n_lags)
        <|sum_i q_i dr_i|^2> [e^2 A^2].
    tracer : ndarray, shape (n_blocks, n_lags)
        Mean squared displacement of the carrier, summed over its atoms and times its charge squared [e^2 A^2]: what
        `total` would be if ions did not know of each other.
    duration : float
        Length of the run [ps].
    """

    status: TransportStatus
    reason: str
    alpha: float | None
    lag_time: FloatArray
    total: FloatArray
    tracer: FloatArray
    duration: float

    @property
    def window(self) -> tuple[float, float] | None:
        """First and last fitted lag [ps]; None when no line may be fitted."""
        if self.status != "diffusive":
            return None
        return (float(self.lag_time[0]), float(self.lag_time[-1]))


class CollectiveSlope(NamedTuple):
    """Growth of the squared displacement of all charges.

    Parameters
    ----------
    status : {"diffusive", "subdiffusive", "insufficient", "empty"}
        Only ``"diffusive"`` comes with an estimate.
    reason : str
        Why.
    estimate : Estimate or None
        The slope [e^2 A^2/ps].
    upper_bound : float or None
        97.5 % upper limit when there is no estimate [e^2 A^2/ps].
    """

    status: TransportStatus
    reason: str
    estimate: Estimate | None
    upper_bound: float | None


def charge_of(symbol: str, charges: Mapping[str, float]) -> float:
    """Look up the charge of an element.

    Parameters
    ----------
    symbol : str
        The element.
    charges : mapping of str to float
        Charges [e].

    Returns
    -------
    float
        Its charge [e].

    Raises
    ------
    InputError
        When there is none, or it is not finite.

    Examples
    --------
    >>> charge_of("O", {"O": -2})
    -2.0
    """
    if symbol not in charges or not np.isfinite(charges[symbol]):
        known = ", ".join(f"{name} {value:+g}" for name, value in charges.items())
        message = f"there is no charge of {symbol} (known: {known})"
        raise InputError(message, remedy="give charges, a mapping from every element to its charge in e")
    return float(charges[symbol])


def charge_displacement(
    trajectory: FrameSeries,
    charges: Mapping[str, float] = FORMAL_CHARGES,
    drift: Drift = "framework",
    carrier: str = CARRIER,
) -> FloatArray:
    """Follow the displacement of all charges together, the integral of the total current.

    Parameters
    ----------
    trajectory : FrameSeries
        A run at constant cell.
    charges : mapping of str to float
        Charge of every element [e].
    drift : {"framework", "com", "none"}, default "framework"
        What is held at rest. It makes no difference, because the charges add up to zero.
    carrier : str, default "Li"
        The mobile element, which is not part of the framework.

    Returns
    -------
    ndarray, shape (n_frames, 3)
        sum_i q_i (r_i(t) - r_i(0)) [e A].

    Raises
    ------
    TrajectoryError
        When the cell varies or the positions cannot be unwrapped.
    InputError
        When a charge is missing, or the charges do not add up to zero.

    Examples
    --------
    >>> from laoc_flows.analysis import Trajectory
    >>> moves = np.array([[[0, 0, 0], [5, 5, 5]], [[1, 0, 0], [5, 5, 4.5]]])
    >>> charge_displacement(Trajectory(("Li", "Cl"), moves, 10 * np.eye(3), 1.0)).round(12).tolist()
    [[0.0, 0.0, 0.0], [1.0, 0.0, 0.5]]
    """
    chosen_atoms(trajectory, carrier)
    per_atom = np.array([charge_of(symbol, charges) for symbol in trajectory.species])
    if abs(per_atom.sum()) > _NEUTRAL * max(1.0, np.abs(per_atom).sum()):
        message = f"the charges of the cell add up to {per_atom.sum():+g} e"
        raise InputError(message, remedy="give charges that make the cell neutral")
    return _charge_path(trajectory.paths(drift, carrier), per_atom)


def _charge_path(paths: Paths, per_atom: FloatArray) -> FloatArray:
    path = np.empty((paths.n_frames, 3))
    length = max(1, CHUNK_BYTES // (24 * per_atom.size))
    start = paths.of(None, 0, 1)[0]
    for first in range(0, paths.n_frames, length):
        moved = paths.of(None, first, first + length) - start
        path[first : first + len(moved)] = per_atom @ moved
    return path


def collective_blocks(
    trajectory: FrameSeries,
    *,
    charges: Mapping[str, float],
    carrier: str,
    drift: Drift,
    copies: int,
    min_blocks: int,
    criteria: WindowCriteria,
) -> CollectiveBlocks:
    """Average the squared displacement of all charges, and that of the carriers alone, over the same blocks.

    Parameters
    ----------
    trajectory : FrameSeries
        A run at constant cell.
    charges : mapping of str to float
        Charge of every element [e].
    carrier : str
        The mobile element.
    drift : {"framework", "com", "none"}
        What is held at rest.
    copies : int
        Number of exact copies of a smaller cell that the run was started from.
    min_blocks : int
        Fewest blocks.
    criteria : WindowCriteria
        What counts as diffusive.

    Returns
    -------
    CollectiveBlocks
        Over half a decade of the carrier's diffusive window.

    Raises
    ------
    TrajectoryError
        When the cell varies or the positions cannot be unwrapped.
    InputError
        When a charge is missing, the charges do not add up to zero, or a parameter is out of range.
    """
    check_copies(copies)
    if min_blocks < 3:  # noqa: PLR2004 - fewer have no spread
        message = f"min_blocks is {min_blocks}, not at least 3"
        raise InputError(message)
    atoms = chosen_atoms(trajectory, carrier)
    charge = charge_of(carrier, charges)
    duration = trajectory.duration
    none = np.zeros((0, 0))
    if not atoms.size:
        return CollectiveBlocks("empty", f"there is no {carrier}", None, np.zeros(0), none, none, duration)
    path = charge_displacement(trajectory, charges, drift, carrier)
    window = diffusive_window(msd(trajectory, carrier, drift, carrier), copies=copies, **criteria)
    status: TransportStatus = window.status
    reason = window.reason
    n_frames = trajectory.n_frames
    lags, n_blocks = np.zeros(0, dtype=np.int64), 0
    if window.window is not None and status == "diffusive":
        lags, n_blocks = _best_lags(path, window.window, trajectory.time_step, min_blocks)
        if n_blocks < min_blocks:
            status = "insufficient"
            reason = (
                f"the run holds {n_blocks} blocks of {BLOCK_LAGS} times the lag of "
                f"{lags[-1] * trajectory.time_step:.3g} ps; {min_blocks} are needed"
            )
    if status != "diffusive":
        lags, n_blocks = np.array([n_frames // (BLOCK_LAGS * min_blocks + 1)]), min_blocks
        if lags[0] < 1:
            return CollectiveBlocks(status, reason, window.alpha, np.zeros(0), none, none, duration)
    borders = block_borders(n_frames - int(lags[-1]), min(n_blocks, _MAX_BLOCKS))
    blocks = square_blocks(trajectory.paths(drift, carrier), atoms, lags, borders)
    return CollectiveBlocks(
        status=status,
        reason=reason,
        alpha=window.alpha,
        lag_time=np.asarray(lags * trajectory.time_step, dtype=np.float64),
        total=_path_blocks(path, lags, borders),
        tracer=charge**2 * atoms.size * blocks.mean,
        duration=duration,
    )


def _best_lags(
    path: FloatArray, window: tuple[float, float], time_step: float, min_blocks: int
) -> tuple[IntArray, int]:
    """Return the half decade of diffusive lags whose slope has the smallest error, and its number of blocks.

    Early lags are sampled more often, late ones rise higher above the vibrations of all ions: which of the two counts
    more depends on the run.
    """
    best, smallest = (np.zeros(0, dtype=np.int64), 0), np.inf
    start = window[0]
    while not best[1] or start * 10**FIT_DECADES <= window[1] * (1 + _NEUTRAL):
        lags = window_lags((start, min(window[1], start * 10**FIT_DECADES)), time_step, _MAX_LAGS)
        n_blocks = (len(path) - int(lags[-1])) // (BLOCK_LAGS * int(lags[-1]))
        if n_blocks < min_blocks:
            return best if best[1] else (lags, n_blocks)
        borders = block_borders(len(path) - int(lags[-1]), min(n_blocks, _MAX_BLOCKS))
        slopes = _path_blocks(path, lags, borders) @ slope_weights(lags * time_step)
        error = float(slopes.std(ddof=1) / np.sqrt(len(slopes)))
        if error < smallest:
            best, smallest = (lags, n_blocks), error
        start *= 10 ** (FIT_DECADES / 2)
    return best


def _path_blocks(path: FloatArray, lags: IntArray, borders: IntArray) -> FloatArray:
    columns = []
    for lag in lags:
        squared = ((path[lag : lag + borders[-1]] - path[: borders[-1]]) ** 2).sum(axis=1)
        columns.append(np.add.reduceat(squared, borders[:-1]) / np.diff(borders))
    return np.stack(columns, axis=1)


def collective_slope(
    blocks: CollectiveBlocks, criteria: WindowCriteria, *, n_resamples: int, seed: int
) -> CollectiveSlope:
    """Fit the growth of the squared displacement of all charges, or say why that cannot be done.

    Parameters
    ----------
    blocks : CollectiveBlocks
        From `collective_blocks`.
    criteria : WindowCriteria
        What counts as diffusive.
    n_resamples : int
        Resamples of the blocks.
    seed : int
        Seed of the resamples.

    Returns
    -------
    CollectiveSlope
        Refused when the slope may be zero, or when the growth is faster than linear. Growth slower than linear is
        no reason: the vibrations of all ions add a constant, which lowers the exponent but not the slope.
    """
    if blocks.status != "diffusive":
        return CollectiveSlope(
            blocks.status, blocks.reason, None, _upper_bound(blocks, criteria, n_resamples, seed)
        )
    if blocks.total.max() <= _ZERO * blocks.tracer.max():
        return CollectiveSlope(
            "diffusive", "the charges never move apart", Estimate(0.0, (0.0, 0.0), 0.0), None
        )
    highest = criteria.get("alpha_range", ALPHA_RANGE)[1]
    logs = np.log(blocks.lag_time) - np.log(blocks.lag_time).mean()
    exponent = block_bootstrap(
        blocks.total, lambda means: np.log(means) @ logs / (logs @ logs), n_resamples=n_resamples, seed=seed
    )
    if exponent.interval[0] > highest:
        reason = f"the displacement of all charges grows like t^{exponent.value:.2f}"
        return CollectiveSlope("insufficient", reason, None, None)
    weights = slope_weights(blocks.lag_time)
    slope = block_bootstrap(blocks.total, lambda means: means @ weights, n_resamples=n_resamples, seed=seed)
    if slope.interval[0] <= 0:
        reason = "the displacement of all charges does not grow beyond doubt"
        return CollectiveSlope("insufficient", reason, None, slope.interval[1])
    return CollectiveSlope("diffusive", f"{blocks.reason}; {len(blocks.total)} blocks", slope, None)


def _upper_bound(
    blocks: CollectiveBlocks, criteria: WindowCriteria, n_resamples: int, seed: int
) -> float | None:
    """Bound the slope at the only lag, by the spread of the blocks and by the hops that may have been missed."""
    highest = criteria.get("alpha_range", ALPHA_RANGE)[1]
    if not blocks.total.size or (blocks.alpha is not None and blocks.alpha > highest):
        return None
    lag_time = float(blocks.lag_time[-1])
    found = block_bootstrap(
        blocks.total[:, -1:], lambda means: means[..., 0], n_resamples=n_resamples, seed=seed
    )
    hops = hop_limit(found.value, blocks.duration / lag_time, criteria.get("jump_length", JUMP_LENGTH))
    return max(found.interval[1], hops) / lag_time
