"""Self-diffusion coefficients with a posterior, or the reason why there is none."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, NamedTuple, Unpack

import numpy as np
import scipy
from pydantic import Field

from laoc_flows.analysis.trajectories.frame import FloatArray, IntArray, Result
from laoc_flows.analysis.trajectories.paths import CARRIER, Drift, Paths
from laoc_flows.analysis.trajectories.series import FrameSeries
from laoc_flows.analysis.transport.displacements import spread_lags, square_blocks
from laoc_flows.analysis.transport.msd import (
    ALPHA_RANGE,
    JUMP_LENGTH,
    DiffusiveWindow,
    WindowCriteria,
    diffusive_window,
    msd,
)
from laoc_flows.analysis.transport.resampling import slope_weights
from laoc_flows.errors import InputError

TransportStatus = Literal["diffusive", "subdiffusive", "insufficient", "empty"]

CM2_PER_S = 1e-4
"""One A^2/ps [cm^2/s]."""

_MAX_SEED = 2**32
_ROUNDING = 1e-9


class DiffusionResult(Result):
    """Self-diffusion coefficient of one element."""

    status: TransportStatus = Field(
        description="Only 'diffusive' comes with a value; 'empty' when the element is absent."
    )
    reason: str = Field(description="Why the status is what it is.")
    species: str = Field(description="The element.")
    drift: Drift = Field(description="What was held at rest: 'framework', 'com' or 'none'.")
    n_particles: int = Field(description="Number of atoms of the element.", ge=0)
    copies: int = Field(
        description="Exact copies of a smaller cell that the run started from; only the atoms of one count as "
        "independent.",
        ge=1,
    )
    duration: float = Field(description="Length of the run [ps].", ge=0)
    value: float | None = Field(description="Posterior mean of D [cm^2/s]; None unless diffusive.")
    standard_error: float | None = Field(description="Posterior standard deviation of D [cm^2/s].")
    interval: tuple[float, float] | None = Field(description="Central 95 % credible interval of D [cm^2/s].")
    upper_bound: float | None = Field(
        description="97.5 % upper limit of MSD / 6t at a long lag when not diffusive [cm^2/s]; None also when MSD / "
        "6t still rises with t and bounds nothing."
    )
    upper_bound_lag: float | None = Field(description="The lag of `upper_bound` [ps].")
    alpha: float | None = Field(description="d ln MSD / d ln t over the window, or over the last lags.")
    window: tuple[float, float] | None = Field(description="First and last diffusive lag [ps].")
    n_eff: float = Field(description="Squared displacement of the independent atoms over a^2.", ge=0)
    n_lags: int = Field(description="Number of lags that the line was fitted to.", ge=0)
    variance_factor: float | None = Field(
        description="Variance of the slope over that of windows side by side: below 1 for walks, whose overlapping "
        "windows tell something new, above it when some atoms move much more than others."
    )
    n_samples: int = Field(description="Steps of each of the 32 walkers in the posterior.", ge=1)
    seed: int = Field(description="Seed of the posterior samples.", ge=0)


class _Moments(NamedTuple):
    """Mean squared displacement [A^2] and the variance of that mean [A^4] at some lags [ps].

    The variance is that of kinisi's model, in which a run holds as many samples as fit into it side by side.
    """

    lag_time: FloatArray
    mean: FloatArray
    variance: FloatArray
    n_independent: FloatArray
    factor: float


class _Bound(NamedTuple):
    value: float
    lag_time: float


def self_diffusion(
    trajectory: FrameSeries,
    species: str = CARRIER,
    drift: Drift = "framework",
    carrier: str = CARRIER,
    *,
    copies: int = 1,
    max_lags: int = 30,
    min_windows: int = 5,
    n_samples: int = 1000,
    seed: int = 0,
    **criteria: Unpack[WindowCriteria],
) -> DiffusionResult:
    """Estimate the self-diffusion coefficient of one element.

    Parameters
    ----------
    trajectory : FrameSeries
        A run at constant cell.
    species : str, default "Li"
        The element.
    drift : {"framework", "com", "none"}, default "framework"
        What is held at rest, see `FrameSeries.paths`.
    carrier : str, default "Li"
        The mobile element, which is not part of the framework.
    copies : int, default 1
        Number of exact copies of a smaller cell that the run was started from. They may move alike, so all counts of
        independent samples are divided by it.
    max_lags : int, default 30
        Number of lags that the line is fitted to at most, even in the logarithm of time.
    min_windows : int, default 5
        The upper bound is taken at the longest lag that fits this often into the run.
    n_samples : int, default 1000
        Steps of each of the 32 walkers that sample the posterior, after 500 that are dropped; every tenth is kept.
    seed : int, default 0
        Seed of the samples. The global random state of NumPy is left as it was.
    **criteria
        What counts as diffusive: the keywords of `diffusive_window`.

    Returns
    -------
    DiffusionResult
        With a value only if the displacements are diffusive.

    Raises
    ------
    TrajectoryError
        When the cell varies or the positions cannot be unwrapped.
    InputError
        When a parameter is not positive.

    Notes
    -----
    The posterior is kinisi's: a line with an intercept, so that vibrations do not count, by generalized least squares
    with the full covariance of the lags; McCluskey et al., J. Chem. Theory Comput. 21, 79 (2025). kinisi takes only
    windows side by side for independent. Overlapping ones tell more, so that its interval is up to a quarter too wide
    for walks (Qian et al., Biophys. J. 60, 910 (1991)); and atoms that keep moving faster than others tell less. The
    covariance is therefore scaled by one factor, so that the slope has the variance of Brownian walks, or that which
    the slopes of the single atoms give by their scatter where this is larger beyond doubt (97.5 %). For walks with
    vibrations the 95 % interval then contains the truth in about 95 of 100 runs.

    Atoms that move faster than others for as long as the run lasts thus count as a draw: of a few mobile atoms the
    interval is as wide as their number is uncertain. It still says nothing about other glasses (see
    `combine_diffusion`), and it takes the atoms for independent: strongly concerted motion makes it too narrow.

    The upper bound is the larger of two: MSD / 6t plus 1.96 standard errors, and the limit that the number N_eff of
    hops of length a leaves when hops are Poisson events (Garwood, Biometrika 28, 437 (1936)), which is finite even
    when nothing moved.

    Examples
    --------
    >>> import numpy as np
    >>> from laoc_flows.analysis import Trajectory
    >>> steps = np.random.default_rng(0).normal(0, 0.05, (300, 8, 3))
    >>> run = Trajectory(("Li",) * 8, np.cumsum(steps, axis=0), 10 * np.eye(3), time_step=0.1)
    >>> result = self_diffusion(run, drift="none")
    >>> result.status, result.value, f"{result.upper_bound:.1e} cm^2/s"
    ('insufficient', None, '4.3e-06 cm^2/s')
    """
    if min(max_lags - 2, min_windows, n_samples) < 1 or not 0 <= seed < _MAX_SEED:
        message = f"{max_lags = } (3 or more), {min_windows = }, {n_samples = } and {seed = } cannot be used"
        raise InputError(message)
    result = msd(trajectory, species, drift, carrier)
    window = diffusive_window(result, copies=copies, **criteria)
    status: TransportStatus = window.status if result.n_particles else "empty"
    reason = window.reason
    samples: FloatArray | None = None
    bound: _Bound | None = None
    n_lags = 0
    factor: float | None = None
    if result.value:
        paths, atoms = trajectory.paths(drift, carrier), trajectory.indices(species)
        if window.window is not None and status == "diffusive":
            moments = _moments(paths, atoms, window_lags(window.window, paths.time_step, max_lags), copies)
            n_lags = moments.lag_time.size
            if moments.variance.min() > 0:
                factor = moments.factor
                samples = CM2_PER_S / 6 * _posterior(moments, n_samples, seed)
            else:
                status, reason = "insufficient", "all atoms move alike, which leaves no error to judge by"
        else:
            longest = max(1, (paths.n_frames - 1) // min_windows)
            bound = _upper_bound(_moments(paths, atoms, np.array([longest]), copies), window, criteria)
    return DiffusionResult(
        status=status,
        reason=reason,
        species=species,
        drift=drift,
        n_particles=result.n_particles,
        copies=copies,
        duration=result.duration,
        value=None if samples is None else float(samples.mean()),
        standard_error=None if samples is None else float(samples.std(ddof=1)),
        interval=None if samples is None else _central(samples),
        upper_bound=None if bound is None else bound.value,
        upper_bound_lag=None if bound is None else bound.lag_time,
        alpha=window.alpha,
        window=window.window,
        n_eff=window.n_eff,
        n_lags=n_lags,
        variance_factor=factor,
        n_samples=n_samples,
        seed=seed,
    )


def window_lags(window: tuple[float, float], time_step: float, max_lags: int) -> IntArray:
    """Return the lags of a diffusive window that a line is fitted to.

    Parameters
    ----------
    window : tuple of float
        First and last diffusive lag [ps].
    time_step : float
        Time between frames [ps].
    max_lags : int
        How many at most.

    Returns
    -------
    ndarray of int, shape (n_lags,)
        Even in the logarithm of time [frames].

    Examples
    --------
    >>> window_lags((1.0, 10.0), 0.1, 4).tolist()
    [10, 22, 46, 100]
    """
    first = max(1, math.ceil(window[0] / time_step * (1 - _ROUNDING)))
    return spread_lags(first, math.floor(window[1] / time_step * (1 + _ROUNDING)), max_lags)


def _moments(paths: Paths, atoms: IntArray, lags: IntArray, copies: int) -> _Moments:
    blocks = square_blocks(paths, atoms, lags, np.array([0, paths.n_frames]))
    n_independent = atoms.size / copies * (paths.n_frames - 1) / lags
    variance = blocks.variance[0] / n_independent
    lag_time = np.asarray(lags * paths.time_step, dtype=np.float64)
    factor = 1.0
    if lags.size > 1 and variance.min() > 0:
        factor = _variance_factor(lags, variance, blocks.per_atom, copies)
    return _Moments(lag_time, blocks.mean[0], variance, n_independent, factor)


def _variance_factor(lags: IntArray, variance: FloatArray, per_atom: FloatArray, copies: int) -> float:
    """Compare the variance of the slope with that of kinisi's model, in which overlapping windows tell nothing new."""
    weights = slope_weights(lags)
    order = np.arange(lags.size)
    low, high = np.minimum.outer(order, order), np.maximum.outer(order, order)
    m, n = lags[low].astype(np.float64), lags[high].astype(np.float64)
    side_by_side = m**2 * n
    # Sum of the squared overlaps of a window of m steps with all those of n.
    overlapping = m**2 * (n - m + 1) + (m - 1) * m * (2 * m - 1) / 3
    walk = float((weights @ overlapping @ weights) / (weights @ side_by_side @ weights))
    model = float(weights @ (variance[low] * n / m) @ weights)
    degrees = len(per_atom) / copies - 1
    if degrees <= 0 or model <= 0:
        return walk
    scatter = float((per_atom @ weights).var(ddof=1)) * copies / (len(per_atom) * model)
    # The scatter of few atoms scatters itself: taking the larger of the two always would widen every interval.
    return scatter if scatter > walk * scipy.stats.chi2.ppf(0.975, degrees) / degrees else walk


def _upper_bound(moments: _Moments, window: DiffusiveWindow, criteria: WindowCriteria) -> _Bound | None:
    """Bound D from above at one lag [cm^2/s]."""
    if window.alpha is not None and window.alpha > criteria.get("alpha_range", ALPHA_RANGE)[1]:
        return None
    lag_time, mean, variance, n_independent = (float(column[0]) for column in moments[:4])
    from_spread = mean + scipy.stats.norm.ppf(0.975) * math.sqrt(variance)
    limit = max(from_spread, hop_limit(mean, n_independent, criteria.get("jump_length", JUMP_LENGTH)))
    return _Bound(CM2_PER_S / (6 * lag_time) * limit, lag_time)


def hop_limit(mean: float, n_independent: float, jump_length: float = JUMP_LENGTH) -> float:
    """Bound a mean squared displacement from above by the hops that may have been missed.

    Parameters
    ----------
    mean : float
        Mean squared displacement at some lag [A^2].
    n_independent : float
        Number of independent displacements behind it.
    jump_length : float, default 3.0
        Length of a hop [A].

    Returns
    -------
    float
        97.5 % upper limit [A^2].

    Notes
    -----
    The total squared displacement is that of a number of hops; Garwood, Biometrika 28, 437 (1936), bounds the
    expectation of a Poisson number.

    Examples
    --------
    >>> round(hop_limit(0.0, 100.0, 1.0), 4)  # no hop at all: at most 3.7 were to be expected
    0.0369
    """
    hop = jump_length**2
    return float(scipy.stats.chi2.ppf(0.975, 2 * (n_independent * mean / hop + 1)) / 2 * hop / n_independent)


def _posterior(moments: _Moments, n_samples: int, seed: int) -> FloatArray:
    """Sample the slope of the mean squared displacement [A^2/ps]."""
    # scipp and emcee take a second or two to import.
    import scipp
    from kinisi.diffusion import Diffusion

    lag_time = scipp.array(dims=["time interval"], values=moments.lag_time, unit="ps")
    data = scipp.DataArray(
        scipp.array(
            dims=["time interval"],
            values=moments.mean,
            variances=moments.factor * moments.variance,
            unit="angstrom^2",
        ),
        coords={
            "time interval": lag_time,
            "n_samples": scipp.array(dims=["time interval"], values=moments.n_independent),
        },
    )
    diffusion = Diffusion(scipp.DataGroup({"da": data, "dimensionality": scipp.scalar(3.0)}))
    with _seeded(seed):
        diffusion.bayesian_regression(start_dt=lag_time[0], n_samples=n_samples, progress=False)
    return np.asarray(diffusion.gradient.values, dtype=np.float64)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed the global random state, which kinisi and emcee draw from, and give it back as it was."""
    state = np.random.get_state()  # noqa: NPY002 - theirs
    np.random.seed(seed)  # noqa: NPY002 - theirs
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002 - theirs


def _central(samples: FloatArray) -> tuple[float, float]:
    low, high = np.quantile(samples, [0.025, 0.975])
    return float(low), float(high)
