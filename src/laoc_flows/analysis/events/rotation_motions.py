"""Which turns of ligands belong to one motion of their host, and what kind of motion it was."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from laoc_flows.analysis.events.bond_history import BondHistory
from laoc_flows.analysis.events.rotation_kernels import Turns
from laoc_flows.analysis.events.tetrahedron_motion import MotionKind, tetrahedron_motion
from laoc_flows.analysis.trajectories.frame import FloatArray, IntArray
from laoc_flows.analysis.trajectories.paths import Paths


def group_turns(turns: Turns, n_hold: int) -> Iterator[IntArray]:
    """Yield the turns that belong together.

    Parameters
    ----------
    turns : Turns
        Turns of all ligands.
    n_hold : int
        Turns about one host within so many frames of the first of them are one motion.

    Yields
    ------
    ndarray of int, shape (n,)
        Rows of `turns`, by time.
    """
    order = np.lexsort((turns.ligand, turns.frame, turns.host))
    group: list[int] = []
    for row in order.tolist():
        if group and (
            turns.host[row] != turns.host[group[0]] or turns.frame[row] - turns.frame[group[0]] > n_hold
        ):
            yield np.array(group)
            group = []
        group.append(row)
    if group:
        yield np.array(group)


def motions_of(
    turns: Turns,
    paths: Paths,
    history: BondHistory,
    *,
    half: int,
    n_hold: int,
    angle: float,
    tolerance: float,
) -> tuple[list[MotionKind], IntArray]:
    """Find out what all ligands of the host did at each turn.

    Parameters
    ----------
    turns : Turns
        Turns of all ligands.
    paths : Paths
        Continuous positions.
    history : BondHistory
        Bonds with all ligands that count.
    half : int
        Frames on either side of the center of an average.
    n_hold : int
        Frames for which a direction is held.
    angle, tolerance : float
        See `tetrahedron_motion` [deg].

    Returns
    -------
    kinds : list of str
        Kind of motion of each turn.
    motion : ndarray of int, shape (n,)
        Number of the motion that each turn is part of.
    """
    kinds: list[MotionKind] = ["single"] * len(turns.frame)
    motion = np.zeros(len(turns.frame), dtype=np.int64)
    by_center = _BondsOfCenters(history)
    species = np.array(paths.species)
    for number, group in enumerate(group_turns(turns, n_hold)):
        motion[group] = number
        host = int(turns.host[group[0]])
        turning = {_key(turns.ligand[row], turns.image[row]): k for k, row in enumerate(group.tolist())}
        after = int(turns.confirmed[group].max())
        first, earliest = int(turns.frame[group].min()), int(turns.reference[group].min())
        there_after = by_center.at(host, after)
        back = max(n_hold, 1)
        while True:
            before = max(first - back, earliest)
            # The turning ligands stay with their host; one that lets go for a moment is still one of its ligands.
            keys = sorted((there_after & by_center.at(host, before)) | turning.keys())
            bonds = np.array(keys, dtype=np.int64)
            ends = [_mean_vectors(paths, host, bonds, frame, half) for frame in (before, after)]
            result = tetrahedron_motion(ends[0], ends[1], species[bonds[:, 0]].tolist(), angle, tolerance)
            turned = _angles(*ends)[[keys.index(key) for key in turning]]
            # A slow turn takes longer than it is held: look further back, at most to the last confirmed direction.
            if before == earliest or bool((turned > angle).all()):
                break
            back *= 2
        for row in group.tolist():
            kinds[row] = result.kind
    return kinds, motion


class _BondsOfCenters:
    """Bonds of one center at one time."""

    def __init__(self, history: BondHistory) -> None:
        self.order = np.argsort(history.bond_center, kind="stable")
        self.centers = history.bond_center[self.order]
        self.history = history

    def at(self, center: int, frame: int) -> set[tuple[int, ...]]:
        rows = self.order[slice(*np.searchsorted(self.centers, [center, center + 1]))]
        rows = rows[(self.history.start[rows] <= frame) & (self.history.stop[rows] > frame)]
        return {_key(self.history.bond_ligand[row], self.history.bond_image[row]) for row in rows}


def _key(ligand: int, image: IntArray) -> tuple[int, ...]:
    return (int(ligand), *(int(n) for n in image))


def _mean_vectors(paths: Paths, center: int, bonds: IntArray, frame: int, half: int) -> FloatArray:
    start, stop = max(frame - half, 0), min(frame + half + 1, paths.n_frames)
    positions = paths.of(np.concatenate([[center], bonds[:, 0]]), start, stop)
    shifts = np.einsum("nk,tkx->tnx", bonds[:, 1:].astype(np.float64), paths.cells[start:stop])
    return np.asarray((positions[:, 1:] - positions[:, :1] + shifts).mean(axis=0))


def _angles(one: FloatArray, other: FloatArray) -> FloatArray:
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return np.asarray(np.degrees(np.arccos(np.clip((one * other).sum(axis=1) / lengths, -1, 1))))
