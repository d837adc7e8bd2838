"""Hops of the mobile ions: from the host center they belong to, and how long they stay with it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from laoc_flows.analysis.events.hop_events import HopSettings, evaluate, no_events, resolved
from laoc_flows.analysis.events.hop_hosts import HopRoles, Samples, TypeTable, auto_stride, host_series
from laoc_flows.analysis.events.hop_kernels import LIGAND, NO_HOST
from laoc_flows.analysis.events.hop_results import HopEvents, HopResult, TauCounts
from laoc_flows.analysis.structure.bonds import CENTER, LIGANDS
from laoc_flows.analysis.structure.chains import Rule
from laoc_flows.analysis.structure.chains import chain_cutoff as known_cutoff
from laoc_flows.analysis.trajectories.paths import CARRIER, Drift
from laoc_flows.analysis.trajectories.trajectory import FrameSeries
from laoc_flows.errors import InputError, TrajectoryError

__all__ = ["MIN_DISTANCE", "HopEvents", "HopResult", "TauCounts", "hops"]

MIN_DISTANCE = 1.5
"""The mean positions before and after a hop are further apart than this [A]."""

_RULES = ("distance", "bridge")


def hops(
    trajectory: FrameSeries,
    center: str = CENTER,
    ligands: Sequence[str] = LIGANDS,
    carrier: str = CARRIER,
    *,
    tau: float = 1.0,
    window: float = 0.3,
    gap: float = 0.15,
    min_distance: float = MIN_DISTANCE,
    back_jump_time: float = 5.0,
    cutoffs: Mapping[str, float] | None = None,
    rule: Rule = "distance",
    chain_cutoff: float | None = None,
    drift: Drift = "framework",
    stride: int | None = None,
) -> HopResult:
    """Find the hops of the mobile ions between host centers.

    Parameters
    ----------
    trajectory : FrameSeries
        A run at constant cell.
    center : str, default "Al"
        Element of the hosts.
    ligands : sequence of str, default ("O", "Cl")
        Elements of the anions.
    carrier : str, default "Li"
        Element of the hopping ions.
    tau : float, default 1.0
        Least dwell before and after a hop [ps]. Counts depend strongly on it.
    window : float, default 0.3
        Centered moving average over the positions [ps].
    gap : float, default 0.15
        The host stays unless another one's ligand is closer by at least this [A].
    min_distance : float, default 1.5
        The mean positions before and after a hop are further apart than this [A].
    back_jump_time : float, default 5.0
        A return within this time is flagged [ps].
    cutoffs : mapping of str to float, optional
        Bond cutoffs [A]; one entry per ligand. Around Al the default is {"O": 2.4, "Cl": 2.8}; otherwise none.
    rule : {"distance", "bridge"}, default "distance"
        When two centers belong to one chain: closer than `chain_cutoff`, or bonded to a common ligand.
    chain_cutoff : float, optional
        Distance of the rule ``"distance"`` [A]; 4.2 for Al, for other centers it must be given.
    drift : {"framework", "com", "none"}, default "framework"
        What is held at rest.
    stride : int, optional
        Frames between samples; by default the most that are within 0.1 ps.

    Returns
    -------
    HopResult
        Events, moves at one host, counts for half and twice the dwell time, and what centers there are.

    Raises
    ------
    InputError
        When an element has two roles, a ligand has no cutoff, or a parameter is out of range.
    TrajectoryError
        When the cell varies or the positions cannot be unwrapped.

    Notes
    -----
    The host of an ion is the center, in its image, to which the ligand closest to the ion is bonded. Of the centers
    of a bridging ligand the present host stays, or else the one nearer to the ion is taken. A dwell is an
    uninterrupted stay whose first and last sample are at least `tau` apart; dwells at one host with short visits
    elsewhere in between (rattles) are one. Two dwells in a row at different hosts are a hop if their mean positions
    are further apart than `min_distance`, whatever the ion did in between, and its time is the middle between the
    last sample of the one and the first of the other. It follows that nothing is counted within `tau` of either end
    of the run. A dwell at one host is split where the ion changes its place by more than `min_distance`, with `tau`
    on either side; such moves are counted apart. Types and chains are those of the coarse-grained positions in
    the sample before the event time, and so are the shares they are compared with.

    Memory is bounded by about 150 MB, the paths (which are on disk for a file), and 24 bytes per change of host.

    Examples
    --------
    A chain of two Al, and a Li that goes over from one to the other after 5 ps:

    >>> import numpy as np
    >>> from laoc_flows.analysis import hops
    >>> from laoc_flows.analysis import Trajectory
    >>> framework = [[2, 5, 5], [2, 7, 5], [6, 5, 5], [6, 7, 5]]
    >>> positions = np.array([[*framework, [2.0 if t < 50 else 6.0, 9, 5]] for t in range(100)])
    >>> run = Trajectory(("Al", "Cl", "Al", "Cl", "Li"), positions, 12 * np.eye(3), time_step=0.1)
    >>> result = hops(run)
    >>> result.n_hops, result.events.same_chain.tolist(), result.events.displacement.round(1).tolist()
    (1, [True], [[3.9, 0.0, 0.0]])
    >>> round(float(result.events.time[0]), 2)
    4.95
    """
    lengths = {
        "tau": tau,
        "window": window,
        "gap": gap,
        "min_distance": min_distance,
        "back_jump_time": back_jump_time,
    }
    _check(rule, lengths)
    stride = auto_stride(trajectory.time_step, stride)
    roles = HopRoles.assign(trajectory.species, center, ligands, carrier, cutoffs)
    cutoff = known_cutoff(center, chain_cutoff) if rule == "distance" else None
    if not trajectory.constant_cell:
        message = "the cell varies, and displacements in it are not hops"
        raise TrajectoryError(message, remedy="take the hops from an NVT run at the mean volume")
    types = TypeTable(roles)
    interval = stride * trajectory.time_step
    n_samples = -(-trajectory.n_frames // stride)
    facts = {
        "center": center,
        "ligands": roles.ligands,
        "carrier": carrier,
        "drift": drift,
        "rule": rule,
        "chain_cutoff": cutoff,
        "cutoffs": roles.cutoffs,
        **lengths,
        "interval": interval,
        "start_time": trajectory.start_time,
        "duration": (n_samples - 1) * interval,
        "n_centers": roles.centers.size,
        "carriers": roles.carriers,
    }
    status, reason = _obstacle(roles, tau, interval, n_samples)
    if status == "ok":
        samples = Samples(trajectory.paths(drift, carrier), window, stride)
        series = host_series(samples, roles, types, gap)
        if (series.code == NO_HOST).all():
            status, reason = "empty", f"no {center} has a ligand within the bond cutoffs"
    if status != "ok":
        nothing = no_events()
        return HopResult(
            **facts,
            status=status,
            reason=reason,
            labels=types.labels(),
            structure_counts=np.zeros(len(types), dtype=np.int64),
            neighbor_counts=np.zeros((roles.carriers.size, len(types)), dtype=np.int64),
            events=nothing,
            moves=nothing,
            by_tau=(),
        )
    settings = HopSettings(tau, min_distance, back_jump_time, trajectory.start_time, rule, cutoff)
    events, moves, by_tau = evaluate(samples, series, roles, types, settings)
    missing = len(types) - series.structure.size
    return HopResult(
        **facts,
        status="ok",
        reason=f"{events.n} hops and {moves.n} moves of {roles.carriers.size} {carrier} with tau = {tau:g} ps",
        labels=types.labels(),
        structure_counts=np.pad(series.structure, (0, missing)),
        neighbor_counts=np.pad(series.neighbor, ((0, 0), (0, missing))),
        events=events,
        moves=moves,
        by_tau=by_tau,
    )


def _check(rule: str, lengths: Mapping[str, float]) -> None:
    """Refuse parameters that define nothing."""
    bad = {name: value for name, value in lengths.items() if not (math.isfinite(value) and value >= 0)}
    bad |= {"tau": lengths["tau"]} if not lengths["tau"] > 0 else {}
    if bad:
        message = f"{', '.join(f'{name} = {value}' for name, value in bad.items())} is out of range"
        raise InputError(message, remedy="give times in ps and distances in A that are not negative")
    if rule not in _RULES:
        message = f"rule = {rule!r} is neither 'distance' nor 'bridge'"
        raise InputError(message)


def _obstacle(
    roles: HopRoles, tau: float, interval: float, n_samples: int
) -> tuple[Literal["ok", "empty", "insufficient"], str]:
    """Return why no hop can be counted."""
    for element, n in (
        (roles.carrier, roles.carriers.size),
        (roles.center, roles.centers.size),
        (" or ".join(roles.ligands), int((roles.of_atom >= LIGAND).sum())),
    ):
        if n == 0:
            return "empty", f"there is no {element or 'ligand'}"
    if interval > tau / 2 * (1 + 1e-6):
        return "insufficient", f"samples every {interval:g} ps do not resolve dwells of {tau:g} ps"
    if not resolved(tau, interval, n_samples):
        return (
            "insufficient",
            f"{n_samples} samples every {interval:g} ps do not hold two dwells of {tau:g} ps",
        )
    return "ok", ""
