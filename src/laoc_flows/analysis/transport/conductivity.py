"""Ionic conductivity, from self-diffusion or from the total current, and how far the two differ."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Literal, Unpack

import scipy
from pydantic import Field

from laoc_flows.analysis.trajectories.frame import Result
from laoc_flows.analysis.trajectories.paths import CARRIER, Drift
from laoc_flows.analysis.trajectories.series import FrameSeries
from laoc_flows.analysis.transport.collective import charge_of, collective_blocks, collective_slope
from laoc_flows.analysis.transport.diffusion import (
    CM2_PER_S,
    DiffusionResult,
    TransportStatus,
    self_diffusion,
)
from laoc_flows.analysis.transport.displacements import chosen_atoms
from laoc_flows.analysis.transport.msd import WindowCriteria
from laoc_flows.analysis.transport.resampling import MIN_BLOCKS
from laoc_flows.composition import FORMAL_CHARGES
from laoc_flows.errors import InputError

Method = Literal["nernst-einstein", "collective"]


class ConductivityResult(Result):
    """Ionic conductivity of a run."""

    status: TransportStatus = Field(
        description="Only 'diffusive' comes with a value; 'empty' when there is no carrier."
    )
    reason: str = Field(description="Why the status is what it is.")
    method: Method = Field(description="'nernst-einstein' or 'collective'.")
    carrier: str = Field(description="The mobile element.")
    temperature: float = Field(description="Temperature [K].", gt=0)
    volume: float = Field(description="Volume of the cell [A^3].", gt=0)
    number_density: float = Field(description="Carriers per volume [1/cm^3].", ge=0)
    charges: dict[str, float] = Field(description="Charge of every element that enters [e].")
    value: float | None = Field(description="Conductivity [mS/cm]; None unless diffusive.")
    standard_error: float | None = Field(description="Standard error of the value [mS/cm].")
    interval: tuple[float, float] | None = Field(description="95 % interval of the value [mS/cm].")
    upper_bound: float | None = Field(
        description="97.5 % upper limit when there is no value [mS/cm]; None when nothing bounds it."
    )
    window: tuple[float, float] | None = Field(description="First and last fitted lag [ps].")
    n_blocks: int | None = Field(description="Blocks of the bootstrap; None for Nernst-Einstein.")
    diffusion: DiffusionResult | None = Field(
        description="The self-diffusion behind a Nernst-Einstein value; None for the collective one."
    )


def nernst_einstein(
    number_density: float, diffusion: float, temperature: float, charge: float = 1.0
) -> float:
    """Turn a self-diffusion coefficient into a conductivity.

    Parameters
    ----------
    number_density : float
        Carriers per volume [1/cm^3].
    diffusion : float
        Self-diffusion coefficient [cm^2/s].
    temperature : float
        Temperature [K].
    charge : float, default 1
        Charge of a carrier [e].

    Returns
    -------
    float
        sigma = n q^2 D / (k_B T) [mS/cm].

    Raises
    ------
    InputError
        When the temperature is not positive.

    Examples
    --------
    >>> round(nernst_einstein(8.06e21, 2.4034e-7, 300.0), 1)
    12.0
    """
    _check_temperature(temperature)
    # 1/cm^3 * cm^2/s = 1e2 / (m s), and 1 S/m = 10 mS/cm.
    squared_charge = (charge * scipy.constants.e) ** 2
    return float(1e3 * number_density * squared_charge * diffusion / (scipy.constants.k * temperature))


def conductivity(
    trajectory: FrameSeries,
    temperature: float,
    method: Method = "nernst-einstein",
    *,
    charges: Mapping[str, float] = FORMAL_CHARGES,
    carrier: str = CARRIER,
    drift: Drift = "framework",
    copies: int = 1,
    n_samples: int = 1000,
    n_resamples: int = 2000,
    min_blocks: int = MIN_BLOCKS,
    seed: int = 0,
    **criteria: Unpack[WindowCriteria],
) -> ConductivityResult:
    """Estimate the ionic conductivity of a run.

    Parameters
    ----------
    trajectory : FrameSeries
        A run at constant cell.
    temperature : float
        Temperature [K].
    method : {"nernst-einstein", "collective"}, default "nernst-einstein"
        From the self-diffusion of the carrier, as if ions did not know of each other, or from the displacement of
        all charges together.
    charges : mapping of str to float
        Charge of every element [e]; the formal ones of Li, Al, O and Cl by default. Nernst-Einstein needs that of
        the carrier alone.
    carrier : str, default "Li"
        The mobile element.
    drift : {"framework", "com", "none"}, default "framework"
        What is held at rest. The collective conductivity does not depend on it, but its window of lags does.
    copies : int, default 1
        Number of exact copies of a smaller cell that the run was started from, see `self_diffusion`.
    n_samples : int, default 1000
        Steps of each walker in the posterior of `self_diffusion`.
    n_resamples : int, default 2000
        Resamples of the blocks of the collective conductivity.
    min_blocks : int, default 10
        Fewest blocks of the collective conductivity. A block is twice as long as the longest fitted lag.
    seed : int, default 0
        Seed of the samples.
    **criteria
        What counts as diffusive: the keywords of `diffusive_window`.

    Returns
    -------
    ConductivityResult
        With a value only if the carrier is diffusive; the collective one also needs `min_blocks` blocks, and a total
        displacement that grows beyond doubt but not faster than linearly.

    Raises
    ------
    TrajectoryError
        When the cell varies or the positions cannot be unwrapped.
    InputError
        When the temperature is not positive, the method is unknown, a charge is missing, or the charges of the cell
        do not add up to zero.

    Notes
    -----
    Nernst-Einstein: sigma = n q^2 D / (k_B T). Collective:
    ``sigma = 1 / (6 V k_B T) d/dt <|sum_i q_i dr_i|^2>`` over all
    ions (France-Lanord and Grossman, Phys. Rev. Lett. 122, 136001 (2019)). As the charges add up to zero it is the
    same in every frame of reference. Its lags are that half decade within the diffusive window of the carrier whose
    slope has the smallest error: early lags are sampled more often, late ones rise above the vibrations of all ions. Its
    interval is a bootstrap over blocks of time, in which no number of independent particles enters. For Brownian
    walks that 95 % interval contains the truth in some 90 of 100 runs: a single total displacement per cell is
    little to resample.

    Examples
    --------
    >>> import numpy as np
    >>> from laoc_flows.analysis import Trajectory
    >>> moves = np.zeros((4000, 16, 3))
    >>> moves[:, :8] = np.cumsum(np.random.default_rng(0).normal(0, 0.5, (4000, 8, 3)), axis=0)
    >>> run = Trajectory(("Li",) * 8 + ("Cl",) * 8, moves, 10 * np.eye(3), time_step=1.0)
    >>> result = conductivity(run, 300.0, "collective")
    >>> result.status
    'diffusive'
    >>> exact = nernst_einstein(8e21, 0.125 * 1e-4, 300.0)
    >>> result.interval[0] < exact < result.interval[1]
    True
    """
    _check_temperature(temperature)
    n_carriers = chosen_atoms(trajectory, carrier).size
    volume = float(trajectory.volumes[0])
    if method == "nernst-einstein":
        charge = charge_of(carrier, charges)
        found = self_diffusion(
            trajectory, carrier, drift, carrier, copies=copies, n_samples=n_samples, seed=seed, **criteria
        )
        scale = nernst_einstein(1e24 * n_carriers / volume, 1.0, temperature, charge)
        low_high = found.interval
        return ConductivityResult(
            status=found.status,
            reason=found.reason,
            method=method,
            carrier=carrier,
            temperature=temperature,
            volume=volume,
            number_density=1e24 * n_carriers / volume,
            charges={carrier: charge},
            value=_scaled(found.value, scale),
            standard_error=_scaled(found.standard_error, scale),
            interval=None if low_high is None else (scale * low_high[0], scale * low_high[1]),
            upper_bound=_scaled(found.upper_bound, scale),
            window=found.window,
            n_blocks=None,
            diffusion=found,
        )
    if method != "collective":
        message = f"method = {method!r} is neither 'nernst-einstein' nor 'collective'"
        raise InputError(message)
    blocks = collective_blocks(
        trajectory,
        charges=charges,
        carrier=carrier,
        drift=drift,
        copies=copies,
        min_blocks=min_blocks,
        criteria=criteria,
    )
    found_slope = collective_slope(blocks, criteria, n_resamples=n_resamples, seed=seed)
    slope = found_slope.estimate
    # <|sum q dr|^2> / (6 V k_B T t) is what n q^2 D / (k_B T) gives for n = 1 / V and D = <...> / 6t.
    scale = nernst_einstein(1e24 / volume, CM2_PER_S / 6, temperature)
    return ConductivityResult(
        status=found_slope.status,
        reason=found_slope.reason,
        method=method,
        carrier=carrier,
        temperature=temperature,
        volume=volume,
        number_density=1e24 * n_carriers / volume,
        charges={symbol: float(charges[symbol]) for symbol in sorted(set(trajectory.species))},
        value=None if slope is None else scale * slope.value,
        standard_error=None if slope is None else scale * slope.standard_error,
        interval=None if slope is None else (scale * slope.interval[0], scale * slope.interval[1]),
        upper_bound=_scaled(found_slope.upper_bound, scale),
        window=blocks.window,
        n_blocks=len(blocks.total),
        diffusion=None,
    )


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else scale * value


def _check_temperature(temperature: float) -> None:
    if not (math.isfinite(temperature) and temperature > 0):
        message = f"the temperature is {temperature} K"
        raise InputError(message, remedy="give the temperature of the run in kelvin")
