"""Intervals from the blocks of a run: correlated samples are resampled in blocks, never one by one."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy

from laoc_flows.analysis.trajectories.frame import FloatArray, IntArray
from laoc_flows.errors import InputError

MIN_BLOCKS = 10
"""Fewest blocks that an interval is taken from."""


class Estimate(NamedTuple):
    """A number with its interval, in the unit of the statistic.

    Parameters
    ----------
    value : float
        The statistic of all blocks.
    interval : tuple of float
        Lower and upper limit.
    standard_error : float
        Standard deviation over the resamples.
    """

    value: float
    interval: tuple[float, float]
    standard_error: float


def block_borders(n: int, n_blocks: int) -> IntArray:
    """Cut consecutive samples into blocks of equal length.

    Parameters
    ----------
    n : int
        Number of samples.
    n_blocks : int
        Number of blocks; at most `n`. Lengths differ by one sample at most.

    Returns
    -------
    ndarray of int, shape (n_blocks + 1,)
        Block b holds the samples ``borders[b] <= k < borders[b + 1]``.

    Raises
    ------
    InputError
        When a block would be empty.

    Examples
    --------
    >>> block_borders(10, 4).tolist()
    [0, 2, 5, 7, 10]
    """
    if not 1 <= n_blocks <= n:
        message = f"{n} samples cannot be cut into {n_blocks} blocks"
        raise InputError(message)
    return np.asarray(np.arange(n_blocks + 1) * n // n_blocks, dtype=np.int64)


def block_bootstrap(
    blocks: npt.ArrayLike,
    statistic: Callable[[FloatArray], FloatArray],
    *,
    n_resamples: int = 2000,
    confidence: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """Estimate a function of block means, and its interval, by resampling the blocks.

    Parameters
    ----------
    blocks : array_like, shape (n_blocks, n_columns)
        Means of independent blocks. The columns of a block stay together, so what is correlated in the run stays
        correlated in every resample.
    statistic : callable
        Takes means of shape (..., n_columns) and returns numbers of shape (...,).
    n_resamples : int, default 2000
        Number of resamples.
    confidence : float, default 0.95
        Level of the interval.
    seed : int, default 0
        Seed of the resamples.

    Returns
    -------
    Estimate
        With the bias-corrected and accelerated interval; of width zero when the statistic does not vary.

    Raises
    ------
    InputError
        When there are fewer than three blocks, or a block or a statistic is not finite.

    Notes
    -----
    Kuensch, Ann. Stat. 17, 1217 (1989) for the blocks; Efron, J. Am. Stat. Assoc. 82, 171 (1987) for the interval;
    Hesterberg, Am. Stat. 69, 371 (2015) for its expansion, because resamples of few blocks vary too little. The
    blocks must be longer than the memory of the run.

    Examples
    --------
    >>> blocks = np.random.default_rng(1).normal(5.0, 1.0, (40, 1))
    >>> estimate = block_bootstrap(blocks, lambda means: means[..., 0])
    >>> estimate.interval[0] < 5.0 < estimate.interval[1]
    True
    """
    table = np.asarray(blocks, dtype=np.float64)
    if table.ndim != 2 or len(table) < 3 or not np.isfinite(table).all():  # noqa: PLR2004 - rows and columns
        message = f"blocks of shape {table.shape} cannot be resampled: three finite rows are needed"
        raise InputError(message)
    value = float(statistic(table.mean(axis=0)))

    def of_rows(rows: IntArray, axis: int) -> FloatArray:
        del axis  # scipy names it, and it is always the last one
        return np.asarray(statistic(table[rows].mean(axis=-2)))

    with np.errstate(all="ignore"):
        varies = np.ptp(
            of_rows((np.arange(len(table))[:, None] + np.arange(len(table) - 1)) % len(table), -1)
        )
    # BCa divides by the spread of the leave-one-out values; below rounding there is none.
    if np.isfinite(varies) and varies <= 1e-12 * abs(value):
        return Estimate(value, (value, value), 0.0)
    result = scipy.stats.bootstrap(
        (np.arange(len(table)),),
        of_rows,
        n_resamples=n_resamples,
        confidence_level=_expanded(confidence, len(table)),
        vectorized=True,
        batch=200,
        method="BCa",
        rng=np.random.default_rng(seed),
    )
    low, high = (float(limit) for limit in result.confidence_interval)
    if not np.isfinite([value, low, high]).all():
        message = "the statistic is not finite for every resample"
        raise InputError(message)
    return Estimate(value, (low, high), float(result.standard_error))


def _expanded(confidence: float, n: int) -> float:
    """Return the level at which n resampled values reach as far as Student's t does at `confidence`."""
    reach = scipy.stats.t.ppf((1 + confidence) / 2, n - 1) * np.sqrt(n / (n - 1))
    return float(2 * scipy.stats.norm.cdf(reach) - 1)


def slope_weights(times: npt.ArrayLike) -> FloatArray:
    """Return the weights that turn mean squared displacements into the slope of their line.

    Parameters
    ----------
    times : array_like, shape (n,)
        Different positive lags, ascending [ps]; at least two.

    Returns
    -------
    ndarray, shape (n,)
        ``weights @ msd`` is the slope [1/ps times the unit of `msd`]; they sum to zero.

    Raises
    ------
    InputError
        When the lags are fewer than two, not ascending or not positive.

    Notes
    -----
    Generalized least squares with an intercept and the covariance ``t_i t_j min(t_i, t_j)`` that the displacements
    of a Brownian walk have: McCluskey et al., J. Chem. Theory Comput. 21, 79 (2025). The weights do not depend on
    the data, so that the slope of a mean is the mean of the slopes.

    Examples
    --------
    >>> t = np.array([1.0, 2.0, 4.0])
    >>> round(float(slope_weights(t) @ (3 * t + 7)), 12)
    3.0
    """
    t = np.asarray(times, dtype=np.float64)
    if t.ndim != 1 or t.size < 2 or t[0] <= 0 or (np.diff(t) <= 0).any():  # noqa: PLR2004 - a line
        message = "a slope needs at least two positive lags in ascending order"
        raise InputError(message)
    scaled = t / t[0]
    covariance = np.outer(scaled, scaled) * np.minimum.outer(scaled, scaled)
    design = np.stack([t, np.ones_like(t)], axis=1)
    half = np.linalg.solve(covariance, design)
    return np.asarray(np.linalg.solve(design.T @ half, half.T)[0])
