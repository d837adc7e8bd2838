"""The Haven ratio: how far ions know of each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Unpack

import numpy as np
from pydantic import Field

from laoc_flows.analysis.trajectories.frame import FloatArray, Result
from laoc_flows.analysis.trajectories.paths import CARRIER, Drift
from laoc_flows.analysis.trajectories.series import FrameSeries
from laoc_flows.analysis.transport.collective import collective_blocks, collective_slope
from laoc_flows.analysis.transport.diffusion import CM2_PER_S, TransportStatus
from laoc_flows.analysis.transport.displacements import chosen_atoms
from laoc_flows.analysis.transport.msd import WindowCriteria
from laoc_flows.analysis.transport.resampling import MIN_BLOCKS, block_bootstrap, slope_weights
from laoc_flows.composition import FORMAL_CHARGES
from laoc_flows.errors import InputError

MAX_FACTOR = 3.0
"""A Haven ratio whose interval spans more than this factor is not given."""


class HavenResult(Result):
    """Haven ratio D* / D_sigma of a run."""

    status: TransportStatus = Field(
        description="Only 'diffusive' comes with a value; 'empty' when there is no carrier."
    )
    reason: str = Field(description="Why the status is what it is.")
    carrier: str = Field(description="The mobile element.")
    value: float | None = Field(
        description="D* / D_sigma, dimensionless; 1 when no ion knows of another, below 1 when ions move together."
    )
    standard_error: float | None = Field(description="Standard error of the value.")
    interval: tuple[float, float] | None = Field(
        description="95 % interval; given without a value when it is too wide to quote one."
    )
    tracer: float | None = Field(description="D* over the same window and blocks [cm^2/s].")
    collective: float | None = Field(description="D_sigma, the collective one [cm^2/s].")
    window: tuple[float, float] | None = Field(description="First and last fitted lag [ps].")
    n_blocks: int = Field(description="Blocks of the bootstrap.", ge=0)


def haven_ratio(
    trajectory: FrameSeries,
    *,
    charges: Mapping[str, float] = FORMAL_CHARGES,
    carrier: str = CARRIER,
    drift: Drift = "framework",
    copies: int = 1,
    max_factor: float = MAX_FACTOR,
    n_resamples: int = 2000,
    min_blocks: int = MIN_BLOCKS,
    seed: int = 0,
    **criteria: Unpack[WindowCriteria],
) -> HavenResult:
    """Estimate the Haven ratio of a run.

    Parameters
    ----------
    trajectory : FrameSeries
        A run at constant cell.
    charges : mapping of str to float
        Charge of every element [e]; the formal ones of Li, Al, O and Cl by default.
    carrier : str, default "Li"
        The mobile element.
    drift : {"framework", "com", "none"}, default "framework"
        What is held at rest while D* is measured; D_sigma does not depend on it.
    copies : int, default 1
        Number of exact copies of a smaller cell that the run was started from, see `self_diffusion`.
    max_factor : float, default 3
        A ratio whose 95 % interval spans more than this factor is refused.
    n_resamples : int, default 2000
        Resamples of the blocks.
    min_blocks : int, default 10
        Fewest blocks; a block is twice as long as the longest fitted lag.
    seed : int, default 0
        Seed of the resamples.
    **criteria
        What counts as diffusive: the keywords of `diffusive_window`.

    Returns
    -------
    HavenResult
        With a value only if the carrier is diffusive and the interval narrow enough.

    Raises
    ------
    TrajectoryError
        When the cell varies or the positions cannot be unwrapped.
    InputError
        When a charge is missing or zero for the carrier, the charges do not add up to zero, or a parameter is out
        of range.

    Notes
    -----
    D_sigma = sigma k_B T / (n q^2), with the collective sigma of all ions, in which the temperature cancels; Murch,
    Solid State Ionics 7, 177 (1982). Both coefficients are slopes over the same lags, and blocks of time are
    resampled with both in them.

    Examples
    --------
    Pairs of ions that always move together carry a charge of 2 e as one, which halves the ratio:

    >>> from laoc_flows.analysis import Trajectory
    >>> moves = np.zeros((5000, 40, 3))
    >>> moves[:, :10] = np.cumsum(np.random.default_rng(0).normal(0, 0.5, (5000, 10, 3)), axis=0)
    >>> moves[:, 10:20] = moves[:, :10]
    >>> run = Trajectory(("Li",) * 20 + ("Cl",) * 20, moves, 10 * np.eye(3), time_step=1.0)
    >>> low, high = haven_ratio(run).interval
    >>> low < 0.5 < high
    True
    """
    if max_factor <= 1:
        message = f"max_factor is {max_factor}, not above 1"
        raise InputError(message)
    n_carriers = chosen_atoms(trajectory, carrier).size
    blocks = collective_blocks(
        trajectory,
        charges=charges,
        carrier=carrier,
        drift=drift,
        copies=copies,
        min_blocks=min_blocks,
        criteria=criteria,
    )
    if n_carriers and charges[carrier] == 0:
        message = f"{carrier} has no charge"
        raise InputError(message)
    slope = collective_slope(blocks, criteria, n_resamples=n_resamples, seed=seed)
    status, reason = slope.status, slope.reason
    value: float | None = None
    error: float | None = None
    interval: tuple[float, float] | None = None
    tracer: float | None = None
    if blocks.window is not None:
        weights = slope_weights(blocks.lag_time)
        scale = CM2_PER_S / (6 * n_carriers * charges[carrier] ** 2)
        tracer = scale * float(blocks.tracer.mean(axis=0) @ weights)
        if slope.estimate is not None and slope.estimate.value <= 0:
            status = "insufficient"
        elif slope.estimate is not None:
            n_lags = weights.size

            def ratio(means: FloatArray) -> FloatArray:
                return np.asarray((means[..., :n_lags] @ weights) / (means[..., n_lags:] @ weights))

            columns = np.concatenate([blocks.tracer, blocks.total], axis=1)
            found = block_bootstrap(columns, ratio, n_resamples=n_resamples, seed=seed)
            interval = found.interval
            if interval[0] <= 0 or interval[1] > max_factor * interval[0]:
                status = "insufficient"
                reason = f"the interval {interval[0]:.3g} to {interval[1]:.3g} spans more than a factor {max_factor:g}"
            else:
                value, error = found.value, found.standard_error
    return HavenResult(
        status=status,
        reason=reason,
        carrier=carrier,
        value=value,
        standard_error=error,
        interval=interval,
        tracer=tracer,
        collective=None if slope.estimate is None else scale * slope.estimate.value,
        window=blocks.window,
        n_blocks=len(blocks.total),
    )
