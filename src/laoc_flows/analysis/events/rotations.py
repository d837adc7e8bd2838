"""Ligands that turn about their host: how often, about which hosts, and in what kind of motion."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from laoc_flows.analysis.events.bond_history import HYSTERESIS, BondHistory, bond_history, frame_blocks
from laoc_flows.analysis.events.host_types import HostTypes, host_types, mean_numbers
from laoc_flows.analysis.events.ligand_hosts import HostStretches, host_changes, host_stretches
from laoc_flows.analysis.events.rotation_kernels import Turns, find_turns
from laoc_flows.analysis.events.rotation_motions import motions_of
from laoc_flows.analysis.events.rotation_results import HostTypeRotations, RotationEvents, RotationResult
from laoc_flows.analysis.events.tetrahedron_motion import MAGIC_ANGLE, MOTION_KINDS, TOLERANCE, MotionKind
from laoc_flows.analysis.rates import poisson_rate, wilson_share
from laoc_flows.analysis.structure.bonds import CENTER, LIGANDS
from laoc_flows.analysis.structure.tetrahedra import COORDINATION
from laoc_flows.analysis.trajectories.frame import FloatArray, IntArray
from laoc_flows.analysis.trajectories.paths import CARRIER, Drift, Paths
from laoc_flows.analysis.trajectories.series import FrameSeries
from laoc_flows.errors import InputError

__all__ = ["HostTypeRotations", "RotationEvents", "RotationResult", "rotations", "rotations_of"]

PS_PER_NS = 1000.0

_SLACK = 1e-6


class _Windows(NamedTuple):
    """Times in frames: half of an average, and the time of holding."""

    half: int
    n_hold: int


def rotations(
    trajectory: FrameSeries,
    center: str = CENTER,
    ligand: str = "Cl",
    carrier: str = CARRIER,
    *,
    ligands: Sequence[str] = LIGANDS,
    limits: Mapping[str, tuple[float, float]] = HYSTERESIS,
    angle: float = MAGIC_ANGLE,
    average: float = 0.5,
    hold: float = 1.0,
    tolerance: float = TOLERANCE,
    coordination: int = COORDINATION,
    drift: Drift = "framework",
) -> RotationResult:
    """Find the rotations of ligands about the center that they are bonded to.

    Parameters
    ----------
    trajectory : FrameSeries
        The run; the cell may vary.
    center : str, default "Al"
        Element of the centers.
    ligand : str, default "Cl"
        Element of the ligands that are looked at.
    carrier : str, default "Li"
        The mobile element, which is not part of the framework.
    ligands : sequence of str, default ("O", "Cl")
        Elements of all ligands, `ligand` among them; they make up the type of a host.
    limits : mapping of str to tuple of float, default {"O": (2.2, 2.6), "Cl": (2.6, 3.0)}
        A bond is made when the distance falls below the first and broken when it reaches the second [A].
    angle : float, default 54.7
        A direction that changed by more than this has turned [deg].
    average : float, default 0.5
        Centered window over which the vector from the center to the ligand is averaged [ps].
    hold : float, default 1.0
        Time for which the direction must stay turned [ps].
    tolerance : float, default 25
        Directions that differ by less are the same when motions of a whole host are compared [deg].
    coordination : int, default 4
        Bonds of a regular center.
    drift : {"framework", "com", "none"}, default "framework"
        What is held at rest in the positions of the events; the events themselves are the same.

    Returns
    -------
    RotationResult
        Events, counts and rates, also by the type of the host.

    Raises
    ------
    InputError
        When the ligands, limits or thresholds contradict each other.
    TrajectoryError
        When the positions cannot be made continuous.

    Notes
    -----
    A ligand turns when its averaged direction leaves the last confirmed one by more than `angle` and stays away from it
    for `hold`; the direction at the end of this time is the next confirmed one. The first confirmed direction is that
    of the first window within the bond. So an excursion that returns sooner is no event, nor is a turn that the end of
    the run or of the bond cuts off. A ligand has one host at a time, see `host_stretches`: a bridging one is seen from
    the host that it stays with for longest, and counts once; one that changes its host migrates, and starts anew with
    its new host. One that lets go of its host for less than `hold` and returns to it has not left. The kinds of motion
    are those of `tetrahedron_motion`, between the time `hold` before the first turn of a motion (earlier for a slow
    one) and the confirmation of its last. Types of hosts follow from the bonds with hysteresis at the time of the event.
    Rates refer to the time in which an event could have been seen, and their intervals take events as independent.
    Memory: a block of 64 MiB of positions twice, the bonds, and the events.

    Examples
    --------
    The chlorine of a diatomic turns by 90 degrees after 3 ps, and migrates nowhere:

    >>> import numpy as np
    >>> from laoc_flows.analysis import Trajectory
    >>> positions = np.zeros((60, 2, 3))
    >>> positions[:30, 1, 0] = positions[30:, 1, 1] = 2.15
    >>> run = Trajectory(("Al", "Cl"), positions, 12 * np.eye(3), time_step=0.1)
    >>> result = rotations(run)
    >>> result.events.time.round(1).tolist(), result.events.angle.round(1).tolist(), result.n_migrations
    ([3.0], [90.0], 0)
    """
    if ligand not in ligands:
        message = f"{ligand} is not among ligands = {list(ligands)}"
        raise InputError(message, remedy="name all ligands of the center")
    history = bond_history(trajectory, center, ligands, limits, drift, carrier)
    return rotations_of(
        trajectory,
        history,
        ligand,
        carrier,
        angle=angle,
        average=average,
        hold=hold,
        tolerance=tolerance,
        coordination=coordination,
        drift=drift,
    )


def rotations_of(
    trajectory: FrameSeries,
    history: BondHistory,
    ligand: str = "Cl",
    carrier: str = CARRIER,
    *,
    angle: float = MAGIC_ANGLE,
    average: float = 0.5,
    hold: float = 1.0,
    tolerance: float = TOLERANCE,
    coordination: int = COORDINATION,
    drift: Drift = "framework",
) -> RotationResult:
    """Find the rotations of ligands whose bonds were followed already.

    Parameters
    ----------
    trajectory : FrameSeries
        The run.
    history : BondHistory
        From `bond_history` of the same run, with all ligands that make up the type of a host.
    ligand : str, default "Cl"
        Element of the ligands that are looked at.
    carrier : str, default "Li"
        The mobile element, which is not part of the framework.
    angle, average, hold, tolerance, coordination, drift
        See `rotations`.

    Returns
    -------
    RotationResult
        The same as `rotations` gives.

    Raises
    ------
    InputError
        When the history is that of another run or lacks the ligand, or thresholds contradict each other.
    TrajectoryError
        When the positions cannot be made continuous.

    Examples
    --------
    >>> import numpy as np
    >>> from laoc_flows.analysis import Trajectory, bond_history
    >>> run = Trajectory(
    ...     ("Al", "Cl"), np.tile([[0.0, 0, 0], [2.1, 0, 0]], (30, 1, 1)), 9.0 * np.eye(3), time_step=0.1
    ... )
    >>> rotations_of(run, bond_history(run)).n_events
    0
    """
    if history.n_frames != trajectory.n_frames or history.time_step != trajectory.time_step:
        message = f"the bonds of {history.n_frames} frames are not those of this run of {trajectory.n_frames}"
        raise InputError(message, remedy="follow the bonds of the same run")
    if not (0 < angle < 180 and average >= 0 and hold >= 0 and 0 < tolerance < 180):  # noqa: PLR2004 - half a turn
        message = f"{angle = }, {average = }, {hold = } and {tolerance = } define no turn"
        raise InputError(message, remedy="give angles between 0 and 180 degrees, and times in ps")
    windows = _windows(trajectory.time_step, average, hold)
    hosts = host_stretches(history, ligand, windows.n_hold)
    types = host_types(history, coordination)
    kinds: list[MotionKind] = []
    if len(hosts.start):
        paths = trajectory.paths(drift, carrier)
        turns = _find_all(paths, hosts, windows, angle)
        kinds, motion = motions_of(
            turns,
            paths,
            history,
            half=windows.half,
            n_hold=windows.n_hold,
            angle=angle,
            tolerance=tolerance,
        )
        position = _positions(paths, turns)
    else:
        turns, motion, position = _no_turns(), np.empty(0, np.int64), np.empty((0, 3))
    type_index = types.at(turns.host, turns.frame)
    time_step = trajectory.time_step
    events = RotationEvents(
        ligand=turns.ligand,
        host=turns.host,
        host_type=tuple(types.labels[k] for k in type_index.tolist()),
        time=trajectory.start_time + time_step * turns.frame,
        position=position,
        angle=turns.angle,
        kind=tuple(kinds),
        motion=motion,
    )
    watched = _watched(hosts, windows)
    exposure = np.maximum(watched[1] - watched[0], 0).sum() * time_step / PS_PER_NS
    n_hosted = len(np.unique(hosts.ligand))
    motions = dict(zip(motion.tolist(), kinds, strict=True))
    status, reason = _status(history, ligand, windows, (average, hold), exposure)
    return RotationResult(
        center=history.center,
        ligand=ligand,
        drift=drift,
        angle=angle,
        average=(2 * windows.half + 1) * time_step if windows.half else 0.0,
        hold=windows.n_hold * time_step,
        start_time=trajectory.start_time,
        duration=trajectory.duration,
        cell=trajectory.cells.mean(axis=0),
        n_centers=len(history.center_indices),
        n_ligands=len(history.ligand_indices[ligand]),
        n_hosted=n_hosted,
        events=events,
        rotating_ligands=wilson_share(len(np.unique(turns.ligand)), n_hosted),
        rotating_hosts=wilson_share(len(np.unique(turns.host)), len(history.center_indices)),
        rate=poisson_rate(len(events), exposure),
        events_by_kind={kind: kinds.count(kind) for kind in MOTION_KINDS},
        motions_by_kind={kind: Counter(motions.values())[kind] for kind in MOTION_KINDS},
        by_type=_by_type(types, hosts, watched, turns, time_step),
        changes=host_changes(history, hosts),
        status=status,
        reason=reason,
    )


def _windows(time_step: float, average: float, hold: float) -> _Windows:
    half = math.floor(average / time_step + _SLACK) // 2
    return _Windows(half, math.ceil(hold / time_step - _SLACK))


def _watched(hosts: HostStretches, windows: _Windows) -> tuple[IntArray, IntArray]:
    """Return the half-open ranges of frames in which a turn, if it began there, would be found."""
    start = hosts.start + windows.half + 1
    return start, np.maximum(hosts.stop - windows.half - windows.n_hold, start)


def _find_all(paths: Paths, hosts: HostStretches, windows: _Windows, angle: float) -> Turns:
    atoms = np.unique(np.concatenate([hosts.ligand, hosts.center]))
    members = np.column_stack([np.searchsorted(atoms, hosts.ligand), np.searchsorted(atoms, hosts.center)])
    spans = np.column_stack([hosts.start, hosts.stop])
    reference = np.zeros((len(spans), 3))
    memory = np.full((len(spans), 2), -1, dtype=np.int64)
    cosine = math.cos(math.radians(angle))
    parts: list[IntArray] = []
    angles: list[FloatArray] = []
    for start, stop, positions in frame_blocks(paths, atoms, windows.half):
        offset = max(start - windows.half, 0)
        inside = np.flatnonzero((spans[:, 0] < stop + windows.half) & (spans[:, 1] > start))
        most = len(inside) * ((stop - start) // max(windows.n_hold, 1) + 1)
        found, turned = np.empty((most, 4), np.int64), np.empty(most)
        held, seen = reference[inside], memory[inside]
        n = find_turns(
            np.ascontiguousarray(positions.transpose(1, 0, 2)),
            np.ascontiguousarray(paths.cells[offset : offset + len(positions)]),
            offset,
            (start, stop),
            members[inside],
            hosts.image[inside],
            spans[inside],
            windows.half,
            cosine,
            windows.n_hold,
            held,
            seen,
            found,
            turned,
        )
        reference[inside], memory[inside] = held, seen
        found[:n, 0] = inside[found[:n, 0]]
        parts.append(found[:n].copy())
        angles.append(turned[:n].copy())
    table = np.concatenate(parts)
    order = np.lexsort((hosts.ligand[table[:, 0]], table[:, 1]))
    table, stretch = table[order], table[order, 0]
    return Turns(
        ligand=hosts.ligand[stretch],
        host=hosts.center[stretch],
        image=hosts.image[stretch],
        frame=table[:, 1],
        reference=table[:, 2],
        confirmed=table[:, 3],
        angle=np.degrees(np.concatenate(angles)[order]),
    )


def _no_turns() -> Turns:
    none = np.empty(0, dtype=np.int64)
    return Turns(none, none, none.reshape(0, 3), none, none, none, np.empty(0))


def _positions(paths: Paths, turns: Turns) -> FloatArray:
    rows = [
        paths.of([atom], frame, frame + 1)[0, 0]
        for atom, frame in zip(turns.ligand.tolist(), turns.frame.tolist(), strict=True)
    ]
    return np.array(rows, dtype=np.float64).reshape(-1, 3)


def _by_type(
    types: HostTypes,
    hosts: HostStretches,
    watched: tuple[IntArray, IntArray],
    turns: Turns,
    time_step: float,
) -> tuple[HostTypeRotations, ...]:
    index = types.at(turns.host, turns.frame)
    ligands = types.time_in(hosts.center, hosts.start, hosts.stop) / types.n_frames
    exposure = types.time_in(hosts.center, *watched) * time_step / PS_PER_NS
    centers = mean_numbers(types)
    return tuple(
        HostTypeRotations(
            label=label,
            n_events=int((index == k).sum()),
            n_rotating_ligands=len(np.unique(turns.ligand[index == k])),
            n_rotating_hosts=len(np.unique(turns.host[index == k])),
            mean_ligands=float(ligands[k]),
            mean_hosts=float(centers[k]),
            rate=poisson_rate(int((index == k).sum()), float(exposure[k])),
        )
        for k, label in enumerate(types.labels)
    )


def _status(
    history: BondHistory,
    ligand: str,
    windows: _Windows,
    asked: tuple[float, float],
    exposure: float,
) -> tuple[Literal["ok", "coarse", "empty", "insufficient"], str]:
    average, hold = asked
    step = history.time_step
    if not len(history.center_indices):
        return "empty", f"there is no {history.center}"
    if not len(history.ligand_indices[ligand]):
        return "empty", f"there is no {ligand}"
    if not np.isin(history.bond_ligand, history.ligand_indices[ligand]).any():
        return "empty", f"no {ligand} is bonded to {history.center}"
    if exposure == 0:
        return "insufficient", f"no {ligand} keeps its host for longer than {average + hold:g} ps"
    if (average > 0 and windows.half == 0) or step > hold > 0:
        return "coarse", (
            f"frames {step:g} ps apart are too far for an average over {average:g} ps and a hold of {hold:g} ps"
        )
    return "ok", f"{len(history.ligand_indices[ligand])} {ligand} over {(history.n_frames - 1) * step:g} ps"
