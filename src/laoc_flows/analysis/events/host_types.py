"""What every center is surrounded by at each time, from bonds with hysteresis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from laoc_flows.analysis.events.bond_history import BondHistory
from laoc_flows.analysis.structure.tetrahedra import COORDINATION, regular_types, type_label
from laoc_flows.analysis.trajectories.frame import FloatArray, IntArray


class HostTypes(NamedTuple):
    """Type of every center as a function of time; rows by center, then by time.

    Parameters
    ----------
    labels : tuple of str
        The types: the regular ones, then all others that occur.
    center : ndarray of int, shape (n,)
        Atom index of the center.
    start : ndarray of int, shape (n,)
        Frame from which on the type holds, up to the next row of the center or the end of the run.
    type_index : ndarray of int, shape (n,)
        The type, as `labels`.
    elapsed : ndarray of int, shape (n, n_labels)
        Frames spent in each type by the rows before this one.
    n_frames : int
        Number of frames of the run.
    """

    labels: tuple[str, ...]
    center: IntArray
    start: IntArray
    type_index: IntArray
    elapsed: IntArray
    n_frames: int

    def rows_at(self, centers: IntArray, frames: IntArray) -> IntArray:
        """Return the row that holds for each center at each frame."""
        width = self.n_frames + 1
        return np.asarray(
            np.searchsorted(self.center * width + self.start, centers * width + frames, "right") - 1
        )

    def at(self, centers: IntArray, frames: IntArray) -> IntArray:
        """Return the type, as `labels`, of each center at each frame."""
        return np.asarray(self.type_index[self.rows_at(centers, frames)])

    def time_in(self, centers: IntArray, start: IntArray, stop: IntArray) -> IntArray:
        """Return how many of the frames ``start <= t < stop`` of each center fell to each type, in sum.

        Parameters
        ----------
        centers, start, stop : ndarray of int, shape (n,)
            Atom indices, and half-open ranges of frames; ranges that end before they start count nothing.

        Returns
        -------
        ndarray of int, shape (n_labels,)
            Sums over all ranges.
        """
        real = stop > start
        upper, lower = self._up_to(centers[real], stop[real]), self._up_to(centers[real], start[real])
        return np.asarray(upper - lower)

    def _up_to(self, centers: IntArray, frames: IntArray) -> IntArray:
        rows = self.rows_at(centers, frames)
        rest = np.bincount(self.type_index[rows], frames - self.start[rows], minlength=len(self.labels))
        return np.asarray(self.elapsed[rows].sum(axis=0) + rest.astype(np.int64))


def host_types(history: BondHistory, coordination: int = COORDINATION) -> HostTypes:
    """Classify every center by its bonds at each time.

    Parameters
    ----------
    history : BondHistory
        Bonds with all ligands that count.
    coordination : int, default 4
        Bonds of a regular center.

    Returns
    -------
    HostTypes
        One row per center and change.

    Examples
    --------
    >>> import numpy as np
    >>> from laoc_flows.analysis import Trajectory
    >>> from laoc_flows.analysis import bond_history
    >>> legs = 2.1 / 3**0.5 * np.array([[0, 0, 0], [1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])
    >>> positions = np.stack([legs] * 4)
    >>> positions[2:, 4] *= 2
    >>> run = Trajectory(("Al", "O", "Cl", "Cl", "Cl"), positions, 14 * np.eye(3), time_step=0.1)
    >>> types = host_types(bond_history(run))
    >>> [types.labels[k] for k in types.at(np.zeros(4, int), np.arange(4))]
    ['AlOCl3', 'AlOCl3', 'CN3:O1Cl2', 'CN3:O1Cl2']
    """
    ligands = tuple(history.limits)
    n_kinds = len(ligands)
    kind = np.zeros(history.n_bonds, dtype=np.int64)
    for k, ligand in enumerate(ligands):
        kind[np.isin(history.bond_ligand, history.ligand_indices[ligand])] = k
    # Besides a step up and a step down per bond, every center has one row at the start without a step.
    centers = np.asarray(history.center_indices, dtype=np.int64)
    center = np.concatenate([centers, history.bond_center, history.bond_center]).astype(np.int64)
    frame = np.concatenate([np.zeros_like(centers), history.start, history.stop]).astype(np.int64)
    steps = np.zeros((len(center), n_kinds), dtype=np.int64)
    n, m = len(centers), history.n_bonds
    steps[n + np.arange(m), kind] = 1
    steps[n + m + np.arange(m), kind] = -1
    order = np.lexsort((frame, center))
    center, frame = center[order], frame[order]
    numbers = np.cumsum(steps[order], axis=0)
    last = np.ones(len(center), dtype=bool)
    last[:-1] = (center[1:] != center[:-1]) | (frame[1:] != frame[:-1])
    last &= frame < history.n_frames
    center, frame, numbers = center[last], frame[last], numbers[last]
    labels, type_index = _labels(numbers, history.center, ligands, coordination)
    following = np.full(len(center), history.n_frames)
    same = center[1:] == center[:-1]
    following[:-1][same] = frame[1:][same]
    spent = np.zeros((len(center), len(labels)), dtype=np.int64)
    spent[np.arange(len(center)), type_index] = following - frame
    return HostTypes(labels, center, frame, type_index, np.cumsum(spent, axis=0) - spent, history.n_frames)


def _labels(
    numbers: IntArray, center: str, ligands: Sequence[str], coordination: int
) -> tuple[tuple[str, ...], IntArray]:
    kinds, inverse = np.unique(numbers, axis=0, return_inverse=True)
    names = [type_label(tuple(row), center, ligands, coordination) for row in kinds.tolist()]
    regular = regular_types(center, ligands, coordination)
    labels = (*regular, *sorted(set(names) - set(regular)))
    index = np.array([labels.index(name) for name in names], dtype=np.int64)
    return labels, np.asarray(index[inverse.reshape(-1)], dtype=np.int64)


def mean_numbers(types: HostTypes) -> FloatArray:
    """Return the number of centers of each type, averaged over the frames, shape (n_labels,)."""
    centers = np.unique(types.center)
    zero = np.zeros(len(centers), dtype=np.int64)
    return np.asarray(types.time_in(centers, zero, zero + types.n_frames) / types.n_frames)
