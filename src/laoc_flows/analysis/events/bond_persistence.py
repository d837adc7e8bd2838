"""How long bonds last, and which ligands change their host."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import scipy
from pydantic import Field

from laoc_flows.analysis.compiled import compiled
from laoc_flows.analysis.events.bond_history import HYSTERESIS, BondHistory, bond_history
from laoc_flows.analysis.events.ligand_hosts import HostChanges, HostStretches, host_changes, host_stretches
from laoc_flows.analysis.rates import Rate, Share, poisson_rate, wilson_share
from laoc_flows.analysis.trajectories.frame import Column, FloatArray, IntArray, Result
from laoc_flows.analysis.trajectories.paths import CARRIER, Drift
from laoc_flows.analysis.trajectories.series import FrameSeries

PS_PER_NS = 1000.0

BoolArray: TypeAlias = npt.NDArray[np.bool_]


class Survival(Result):
    """Kaplan-Meier estimate of the probability to last longer than a time."""

    n_ended: int = Field(description="Number of bonds that broke during the run.", ge=0)
    n_censored: int = Field(description="Number of bonds that were there when the run ended.", ge=0)
    time: Column = Field(
        description="Ages at which a bond broke or the run ended [ps], ascending, shape (n,)."
    )
    probability: Column = Field(description="Probability to get older than `time`, shape (n,).")
    low: Column = Field(description="Lower end of the 95 % interval; 0 where none can be given, shape (n,).")
    high: Column = Field(description="Upper end of the 95 % interval; 1 where none can be given, shape (n,).")


class BondPersistenceResult(Result):
    """Persistence of the bonds between one kind of center and one kind of ligand."""

    center: str = Field(description="Element of the centers.")
    ligand: str = Field(description="Element of the ligands.")
    limits: tuple[float, float] = Field(description="Distances of making and breaking a bond [A].")
    duration: float = Field(description="Time between the first and the last frame [ps].", ge=0)
    n_ligands: int = Field(description="Number of ligands, bonded or not.", ge=0)
    n_hosted: int = Field(description="Number of ligands that were bonded at any time.", ge=0)
    mean_bonds: float = Field(description="Number of bonds in the cell, averaged over the frames.", ge=0)
    lag_time: Column = Field(description="Lags [ps], from 0 to half the run, shape (n,).")
    continuous: Column = Field(
        description="Share of the bonds at t that never broke until t + lag, over all origins t, shape (n,)."
    )
    intermittent: Column = Field(
        description="Share of the bonds at t that exist at t + lag, whatever happened between, shape (n,)."
    )
    lifetimes: Survival = Field(description="Lifetime of the bonds that were made during the run.")
    residual: Survival = Field(description="Remaining lifetime of the bonds of the first frame.")
    breaking_rate: Rate = Field(
        description="Bonds that broke, per bond and ns; its inverse is the mean lifetime."
    )
    changes: HostChanges = Field(description="Every change of host.")
    changed_ligands: tuple[int, ...] = Field(description="Atom index of every ligand that changed its host.")
    changed_share: Share = Field(description="Ligands that changed their host, of those that were bonded.")
    change_rate: Rate = Field(description="Changes of host, per bonded ligand and ns.")
    status: Literal["ok", "empty", "insufficient"] = Field(
        description="'empty' without any bond; 'insufficient' with fewer than three frames."
    )
    reason: str = Field(description="Why the status is what it is.")


def bond_persistence(
    trajectory: FrameSeries,
    center: str = "Al",
    ligand: str = "Cl",
    limits: Mapping[str, tuple[float, float]] = HYSTERESIS,
    drift: Drift = "framework",
    carrier: str = CARRIER,
) -> BondPersistenceResult:
    """Measure how long the bonds of one kind last.

    Parameters
    ----------
    trajectory : FrameSeries
        The run; the cell may vary.
    center : str, default "Al"
        Element of the centers.
    ligand : str, default "Cl"
        Element of the ligands.
    limits : mapping of str to tuple of float, default {"O": (2.2, 2.6), "Cl": (2.6, 3.0)}
        A bond is made when the distance falls below the first and broken when it reaches the second [A].
    drift, carrier : str
        Which of the continuous paths to take, see `FrameSeries.paths`; bonds are the same in all.

    Returns
    -------
    BondPersistenceResult
        Empty, with status ``"empty"``, when there are no bonds.

    Raises
    ------
    InputError
        When the ligand has no limits, or they are not ascending.
    TrajectoryError
        When the positions cannot be made continuous.

    Notes
    -----
    Continuous and intermittent survival as in Rapaport, Mol. Phys. 50, 1151 (1983), and Luzar and Chandler, Nature 379,
    55 (1996), averaged over all time origins exactly; the bond is that of one center, one ligand and one lattice image.
    Lifetimes that the end of the run cuts off are censored (Kaplan and Meier, J. Am. Stat. Assoc. 53, 457 (1958)); a
    bond of the first frame has an unknown age, and so only a remaining lifetime. Hosts and their changes are those of
    `host_stretches`. The intervals take bonds and changes as independent. Memory: that of `bond_history`, and four
    numbers per frame.

    Examples
    --------
    One of two chlorines leaves its Al for good after 5 of 10 frames:

    >>> import numpy as np
    >>> from laoc_flows.analysis import Trajectory
    >>> positions = np.zeros((10, 3, 3))
    >>> positions[:, 1, 0] = 2.1
    >>> positions[:, 2, 0] = -2.1
    >>> positions[5:, 2, 0] = -4.0
    >>> run = Trajectory(("Al", "Cl", "Cl"), positions, 12 * np.eye(3), time_step=0.1)
    >>> result = bond_persistence(run)
    >>> result.continuous.round(3).tolist()
    [1.0, 0.929, 0.846, 0.75, 0.636]
    >>> result.residual.n_ended, result.residual.n_censored, result.changed_share.value
    (1, 1, 0.0)
    """
    history = bond_history(trajectory, center, (ligand,), limits, drift, carrier)
    return persistence_of(history, ligand)


def persistence_of(history: BondHistory, ligand: str = "Cl") -> BondPersistenceResult:
    """Measure the persistence of bonds that were followed already.

    Parameters
    ----------
    history : BondHistory
        From `bond_history`, of this ligand alone or of several.
    ligand : str, default "Cl"
        Element of the ligands.

    Returns
    -------
    BondPersistenceResult
        The same as `bond_persistence` gives.

    Raises
    ------
    InputError
        When the history does not hold the ligand.

    Examples
    --------
    >>> import numpy as np
    >>> from laoc_flows.analysis import Trajectory, bond_history
    >>> run = Trajectory(
    ...     ("Al", "Cl"), np.tile([[0.0, 0, 0], [2.1, 0, 0]], (30, 1, 1)), 9.0 * np.eye(3), time_step=0.1
    ... )
    >>> persistence_of(bond_history(run)).mean_bonds
    1.0
    """
    hosts = host_stretches(history, ligand)
    of_ligand = np.isin(history.bond_ligand, history.ligand_indices[ligand])
    rows = np.flatnonzero(of_ligand)
    start, stop = history.start[rows].astype(np.int64), history.stop[rows].astype(np.int64)
    lag, continuous, intermittent = _correlations(history, rows)
    changes = host_changes(history, hosts)
    changed = np.unique(changes.ligand)
    n_hosted = len(np.unique(hosts.ligand))
    # A bond that is watched over k frames had k - 1 chances to break, and one more if it did.
    broken = stop < history.n_frames
    bond_time = float((stop - start - ~broken).sum()) * history.time_step / PS_PER_NS
    hosted_time = _hosted_time(history, hosts)
    duration = (history.n_frames - 1) * history.time_step
    status, reason = _status(history, ligand, len(rows), duration)
    return BondPersistenceResult(
        center=history.center,
        ligand=ligand,
        limits=history.limits[ligand],
        duration=duration,
        n_ligands=len(history.ligand_indices[ligand]),
        n_hosted=n_hosted,
        mean_bonds=float((stop - start).sum()) / history.n_frames,
        lag_time=lag * history.time_step,
        continuous=continuous,
        intermittent=intermittent,
        lifetimes=_kaplan_meier(start, stop, start > 0, history),
        residual=_kaplan_meier(start, stop, start == 0, history),
        breaking_rate=poisson_rate(int(broken.sum()), bond_time),
        changes=changes,
        changed_ligands=tuple(changed.tolist()),
        changed_share=wilson_share(len(changed), n_hosted),
        change_rate=poisson_rate(len(changes), hosted_time),
        status=status,
        reason=reason,
    )


def _status(
    history: BondHistory, ligand: str, n_bonds: int, duration: float
) -> tuple[Literal["ok", "empty", "insufficient"], str]:
    if not len(history.center_indices):
        return "empty", f"there is no {history.center}"
    if not len(history.ligand_indices[ligand]):
        return "empty", f"there is no {ligand}"
    if not n_bonds:
        return "empty", f"no {ligand} came closer than {history.limits[ligand][0]:g} A to {history.center}"
    if history.n_frames <= 2:  # noqa: PLR2004 - half the run is no lag then
        return "insufficient", f"{history.n_frames} frames show no time dependence"
    return "ok", f"{n_bonds} bonds over {duration:g} ps"


def _hosted_time(history: BondHistory, hosts: HostStretches) -> float:
    """Return for how long ligands had a host, in sum [ns]."""
    n_intervals = np.minimum(hosts.stop, history.n_frames - 1) - hosts.start
    return float(n_intervals.sum()) * history.time_step / PS_PER_NS


def _kaplan_meier(start: IntArray, stop: IntArray, chosen: BoolArray, history: BondHistory) -> Survival:
    age = (stop - start)[chosen]
    censored = stop[chosen] == history.n_frames
    if not len(age):
        none = np.empty(0)
        return Survival(n_ended=0, n_censored=0, time=none, probability=none, low=none, high=none)
    # The last frame of a bond that lasts is its latest sign of life; there is none that it was absent from.
    sample = scipy.stats.CensoredData(uncensored=age[~censored], right=age[censored] - 1)
    function = scipy.stats.ecdf(sample).sf
    # Where all or none have ended the formula has no interval, and SciPy says so; the widest one is given then.
    with warnings.catch_warnings(), np.errstate(divide="ignore", invalid="ignore"):
        warnings.simplefilter("ignore", RuntimeWarning)
        bounds = function.confidence_interval(method="log-log")
    return Survival(
        n_ended=int((~censored).sum()),
        n_censored=int(censored.sum()),
        time=function.quantiles * history.time_step,
        probability=function.probabilities,
        low=np.nan_to_num(bounds.low.probabilities, nan=0.0),
        high=np.nan_to_num(bounds.high.probabilities, nan=1.0),
    )


def _correlations(history: BondHistory, rows: IntArray) -> tuple[IntArray, FloatArray, FloatArray]:
    """Return lags in frames and both survival functions, up to the last lag that has an origin with a bond."""
    n = history.n_frames
    keys = (history.bond_image[rows, 2], history.bond_image[rows, 1], history.bond_image[rows, 0])
    rows = rows[
        np.lexsort((history.start[rows], *keys, history.bond_center[rows], history.bond_ligand[rows]))
    ]
    identity = np.column_stack(
        [history.bond_ligand[rows], history.bond_center[rows], history.bond_image[rows]]
    )
    bond = np.concatenate([[0], np.cumsum((identity[1:] != identity[:-1]).any(axis=1))])[: len(rows)]
    start, stop = history.start[rows].astype(np.int64), history.stop[rows].astype(np.int64)
    n_lags = (n - 1) // 2 + 1
    # Overlaps of two stretches are piecewise linear in the lag: four kinks each, and two sums at the end.
    same = np.cumsum(np.cumsum(_kinks(np.arange(len(rows)), start, stop, n)))[n : n + n_lags]
    any_ = np.cumsum(np.cumsum(_kinks(bond.astype(np.int64), start, stop, n)))[n : n + n_lags]
    present = np.zeros(n + 1, dtype=np.int64)
    np.add.at(present, start, 1)
    np.add.at(present, stop, -1)
    origins = np.cumsum(np.cumsum(present[:n]))[n - 1 - np.arange(n_lags)]
    lags = np.arange(n_lags, dtype=np.int64)[origins > 0]
    origins = np.maximum(origins[: len(lags)], 1)
    return lags, same[: len(lags)] / origins, any_[: len(lags)] / origins


@compiled
def _kinks(bond: IntArray, start: IntArray, stop: IntArray, n_frames: int) -> IntArray:
    """Return the second difference, over lags from -n_frames on, of the number of pairs of frames of equal bonds."""
    kinks = np.zeros(2 * n_frames + 2, np.int64)
    for p in range(bond.shape[0]):
        q = p
        while q < bond.shape[0] and bond[q] == bond[p]:
            kinks[n_frames + start[q] - stop[p] + 1] += 1
            kinks[n_frames + start[q] - start[p] + 1] -= 1
            kinks[n_frames + stop[q] - stop[p] + 1] -= 1
            kinks[n_frames + stop[q] - start[p] + 1] += 1
            q += 1
    return kinks
