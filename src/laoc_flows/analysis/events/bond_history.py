"""Bonds along a run, with hysteresis: when each was made and when it broke."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from pydantic import Field

from laoc_flows.analysis.compiled import compiled
from laoc_flows.analysis.structure.kernels import half_pairs
from laoc_flows.analysis.trajectories.frame import Column, FloatArray, IntArray, Result
from laoc_flows.analysis.trajectories.paths import CARRIER, Drift, Paths
from laoc_flows.analysis.trajectories.series import CHUNK_BYTES, FrameSeries
from laoc_flows.errors import InputError

HYSTERESIS: Mapping[str, tuple[float, float]] = MappingProxyType({"O": (2.2, 2.6), "Cl": (2.6, 3.0)})
"""Ligand to the distances [A] below which a bond with Al is made and from which on it is broken."""

_SLOTS = 8


class BondHistory(Result):
    """Every stretch of time during which a center and a ligand were bonded; rows by ligand, then by start."""

    center: str = Field(description="Element of the centers.")
    limits: dict[str, tuple[float, float]] = Field(
        description="Element of the ligand to the distances of making and breaking a bond [A]."
    )
    n_frames: int = Field(description="Number of frames of the run.", ge=1)
    time_step: float = Field(description="Time between frames [ps].", gt=0)
    start_time: float = Field(description="Time of the first frame [ps].")
    center_indices: Column = Field(description="Atom index of every center, ascending, shape (n_centers,).")
    ligand_indices: dict[str, Column] = Field(
        description="Element of the ligand to the atom indices of all its atoms, bonded or not, ascending."
    )
    bond_center: Column = Field(description="Atom index of the center, shape (n,).")
    bond_ligand: Column = Field(description="Atom index of the ligand, shape (n,).")
    bond_image: Column = Field(
        description="Lattice image of the ligand that is bonded, on continuous coordinates, shape (n, 3)."
    )
    start: Column = Field(description="First bonded frame, shape (n,).")
    stop: Column = Field(
        description="First frame that is not bonded any more, or `n_frames` for a bond that lasts, shape (n,)."
    )
    mean_distance: Column = Field(description="Mean length over its frames [A], shape (n,).")

    @property
    def n_bonds(self) -> int:
        """Number of stretches; a bond that breaks and forms again counts twice."""
        return len(self.start)

    @property
    def starts_before(self) -> Column:
        """Whether each bond was there in the first frame, so that its true start is unknown, shape (n,)."""
        return np.asarray(self.start == 0)

    @property
    def lasts(self) -> Column:
        """Whether each bond was there in the last frame, so that its true end is unknown, shape (n,)."""
        return np.asarray(self.stop == self.n_frames)


def check_limits(
    center: str, ligands: Sequence[str], limits: Mapping[str, tuple[float, float]]
) -> dict[str, tuple[float, float]]:
    """Return the limits of the chosen ligands.

    Parameters
    ----------
    center : str
        Element of the centers.
    ligands : sequence of str
        Elements of the ligands.
    limits : mapping of str to tuple of float
        Element of the ligand to (make, break) [A].

    Returns
    -------
    dict of str to tuple of float
        In the order of the ligands.

    Raises
    ------
    InputError
        When a ligand has no limits, is named twice, or is the center itself, or when limits are not positive and
        ascending.
    """
    missing = [ligand for ligand in ligands if ligand not in limits]
    if missing or center in ligands or len(set(ligands)) != len(ligands):
        message = f"ligands = {list(ligands)} of {center} do not fit limits = {dict(limits)}"
        raise InputError(
            message, remedy="name every ligand once, with (make, break) in A, and not the center"
        )
    chosen = {ligand: (float(limits[ligand][0]), float(limits[ligand][1])) for ligand in ligands}
    for ligand, (make, break_) in chosen.items():
        if not (0 < make <= break_ < np.inf):
            message = f"a {center}-{ligand} bond made below {make} A cannot break at {break_} A"
            raise InputError(message, remedy="give 0 < make <= break")
    return chosen


def frame_blocks(
    paths: Paths, atoms: IntArray, overlap: int = 0, max_bytes: int = CHUNK_BYTES
) -> Iterator[tuple[int, int, FloatArray]]:
    """Yield the paths of some atoms in blocks of frames that fit into memory.

    Parameters
    ----------
    paths : Paths
        Continuous positions.
    atoms : ndarray of int, shape (n,)
        Indices.
    overlap : int, default 0
        Frames that a block holds in addition before and after its own, where the run has them.
    max_bytes : int, default 64 MiB
        Size of a block without its overlap [bytes]; a block has at least one frame.

    Yields
    ------
    start, stop : int
        Half-open range of the block's own frames.
    positions : ndarray, shape (n_block_frames, n, 3)
        Positions [A] of its frames from ``max(start - overlap, 0)`` on.
    """
    length = max(1, max_bytes // (24 * max(1, len(atoms))))
    for start in range(0, paths.n_frames, length):
        stop = min(start + length, paths.n_frames)
        first, last = max(start - overlap, 0), min(stop + overlap, paths.n_frames)
        yield start, stop, paths.of(atoms, first, last)


def bond_history(
    trajectory: FrameSeries,
    center: str = "Al",
    ligands: Sequence[str] = ("O", "Cl"),
    limits: Mapping[str, tuple[float, float]] = HYSTERESIS,
    drift: Drift = "framework",
    carrier: str = CARRIER,
) -> BondHistory:
    """Follow every bond along a run.

    Parameters
    ----------
    trajectory : FrameSeries
        The run; the cell may vary.
    center : str, default "Al"
        Element of the centers.
    ligands : sequence of str, default ("O", "Cl")
        Elements of the ligands.
    limits : mapping of str to tuple of float, default {"O": (2.2, 2.6), "Cl": (2.6, 3.0)}
        A bond is made when the distance falls below the first and broken when it reaches the second [A].
    drift, carrier : str
        Which of the continuous paths to take, see `FrameSeries.paths`; bonds are the same in all.

    Returns
    -------
    BondHistory
        Without rows when there are no centers or no ligands.

    Raises
    ------
    InputError
        When `limits` do not fit the ligands, or are not ascending.
    TrajectoryError
        When the positions cannot be made continuous.

    Notes
    -----
    A bond is one center, one ligand and one lattice image, on coordinates that are continuous in time: crossing the
    border of the cell changes nothing, and two images of one ligand at the same center are two bonds. In the first
    frame, where nothing is known of the past, a pair is bonded below the mean of its two limits; for Al-O and Al-Cl
    that is the first minimum of g(r). Two thresholds as in the stable-states picture of Northrup and Hynes, J. Chem.
    Phys. 73, 2700 (1980). Memory: a block of 64 MiB of positions (twice that for a file), and the rows.

    Examples
    --------
    A chlorine that oscillates between 2.2 and 2.8 A stays bonded; one that leaves for 3.2 A does not:

    >>> import numpy as np
    >>> from laoc_flows.analysis import Trajectory
    >>> r = np.array([2.2, 2.8, 2.2, 3.2, 2.8, 2.5])
    >>> positions = np.zeros((6, 2, 3))
    >>> positions[:, 1, 0] = r
    >>> run = Trajectory(("Al", "Cl"), positions, 12 * np.eye(3), time_step=0.1)
    >>> history = bond_history(run)
    >>> history.start.tolist(), history.stop.tolist()
    ([0, 5], [3, 6])
    """
    chosen = check_limits(center, ligands, limits)
    centers = trajectory.indices(center)
    by_ligand = {ligand: trajectory.indices(ligand) for ligand in ligands}
    rows = _Rows()
    if len(centers) and any(len(found) for found in by_ligand.values()):
        _follow(trajectory.paths(drift, carrier), centers, by_ligand, chosen, rows)
    bond, distance = rows.sorted()
    return BondHistory(
        center=center,
        limits=chosen,
        n_frames=trajectory.n_frames,
        time_step=trajectory.time_step,
        start_time=trajectory.start_time,
        center_indices=centers,
        ligand_indices=by_ligand,
        bond_center=bond[:, 1],
        bond_ligand=bond[:, 0],
        bond_image=bond[:, 2:5],
        start=bond[:, 5],
        stop=bond[:, 6],
        mean_distance=distance / np.maximum(bond[:, 6] - bond[:, 5], 1),
    )


class _Rows:
    """Bonds that are over: ligand, center, image, start and stop, and the sum of the lengths."""

    def __init__(self) -> None:
        self.bonds: list[IntArray] = []
        self.sums: list[FloatArray] = []

    def add(self, bonds: IntArray, sums: FloatArray) -> None:
        self.bonds.append(bonds)
        self.sums.append(sums)

    def sorted(self) -> tuple[IntArray, FloatArray]:
        if not self.bonds:
            return np.empty((0, 7), np.int64), np.empty(0)
        bonds, sums = np.concatenate(self.bonds), np.concatenate(self.sums)
        keys = (bonds[:, 4], bonds[:, 3], bonds[:, 2], bonds[:, 1], bonds[:, 5], bonds[:, 0])
        order = np.lexsort(keys)
        return bonds[order], sums[order]


def _follow(
    paths: Paths,
    centers: IntArray,
    by_ligand: dict[str, IntArray],
    limits: dict[str, tuple[float, float]],
    rows: _Rows,
) -> None:
    atoms = np.concatenate([centers, *by_ligand.values()])
    kinds = np.repeat(np.arange(len(by_ligand) + 1), [len(centers), *map(len, by_ligand.values())])
    cutoffs = np.zeros((len(by_ligand) + 1,) * 2)
    make = np.zeros(len(by_ligand) + 1)
    for kind, ligand in enumerate(by_ligand, start=1):
        make[kind], cutoffs[0, kind] = limits[ligand]
        cutoffs[kind, 0] = cutoffs[0, kind]
    first_make = (make + cutoffs[0]) / 2
    n = len(centers)
    slots, sums = _empty_slots(len(atoms) - n, _SLOTS)
    for start, _, block in frame_blocks(paths, atoms):
        for frame, positions in enumerate(block, start=start):
            i, j, image, distance = half_pairs(
                np.ascontiguousarray(positions), paths.cells[frame], kinds, cutoffs
            )
            most = int(np.bincount(j).max(initial=0))
            if most > slots.shape[1]:
                slots, sums = _grow(slots, sums, most)
            forming = make if frame else first_make
            over, lengths = _advance(frame, i, j - n, image, distance, forming[kinds[n:]], slots, sums)
            if len(over):
                rows.add(_named(over, atoms, n), lengths)
    over, lengths = _close(paths.n_frames, slots, sums)
    rows.add(_named(over, atoms, n), lengths)


def _empty_slots(n_ligands: int, n_slots: int) -> tuple[IntArray, FloatArray]:
    slots = np.zeros((n_ligands, n_slots, 6), np.int64)
    slots[..., 0] = -1
    return slots, np.zeros((n_ligands, n_slots))


def _grow(slots: IntArray, sums: FloatArray, n_slots: int) -> tuple[IntArray, FloatArray]:
    larger = _empty_slots(len(slots), n_slots)
    larger[0][:, : slots.shape[1]] = slots
    larger[1][:, : slots.shape[1]] = sums
    return larger


def _named(over: IntArray, atoms: IntArray, n_centers: int) -> IntArray:
    named = over.copy()
    named[:, 0] = atoms[over[:, 0] + n_centers]
    named[:, 1] = atoms[over[:, 1]]
    return named


@compiled
def _take_out(ligand: int, slot: int, stop: int, slots: IntArray, sums: FloatArray, row: IntArray) -> float:
    row[0] = ligand
    row[1:6] = slots[ligand, slot, :5]
    row[6] = stop
    slots[ligand, slot, 0] = -1
    return sums[ligand, slot]


@compiled
def _close(stop: int, slots: IntArray, sums: FloatArray) -> tuple[IntArray, FloatArray]:
    """Take out every bond that was not seen in frame `stop`."""
    n_open = 0
    for ligand in range(slots.shape[0]):
        for slot in range(slots.shape[1]):
            if slots[ligand, slot, 0] >= 0 and slots[ligand, slot, 5] != stop:
                n_open += 1
    over, lengths = np.empty((n_open, 7), np.int64), np.empty(n_open)
    n_open = 0
    for ligand in range(slots.shape[0]):
        for slot in range(slots.shape[1]):
            if slots[ligand, slot, 0] >= 0 and slots[ligand, slot, 5] != stop:
                lengths[n_open] = _take_out(ligand, slot, stop, slots, sums, over[n_open])
                n_open += 1
    return over, lengths


@compiled
def _find(slots: IntArray, center: int, image: IntArray) -> int:
    for slot in range(slots.shape[0]):
        held = slots[slot]
        if held[0] == center and held[1] == image[0] and held[2] == image[1] and held[3] == image[2]:
            return slot
    return -1


@compiled
def _advance(
    frame: int,
    centers: IntArray,
    ligands: IntArray,
    images: IntArray,
    distances: FloatArray,
    make: FloatArray,
    slots: IntArray,
    sums: FloatArray,
) -> tuple[IntArray, FloatArray]:
    """Enter one frame; a slot is center, image, start and the last frame in which the bond was seen."""
    n_seen = 0
    for k in range(ligands.shape[0]):
        slot = _find(slots[ligands[k]], centers[k], images[k])
        if slot >= 0:
            slots[ligands[k], slot, 5] = frame
            sums[ligands[k], slot] += distances[k]
            n_seen += 1
    over, lengths = _close(frame, slots, sums)
    if n_seen == ligands.shape[0]:
        return over, lengths
    for k in range(ligands.shape[0]):
        if distances[k] >= make[ligands[k]] or _find(slots[ligands[k]], centers[k], images[k]) >= 0:
            continue
        slot = _find_free(slots[ligands[k]])
        slots[ligands[k], slot, 0] = centers[k]
        slots[ligands[k], slot, 1:4] = images[k]
        slots[ligands[k], slot, 4] = frame
        slots[ligands[k], slot, 5] = frame
        sums[ligands[k], slot] = distances[k]
    return over, lengths


@compiled
def _find_free(slots: IntArray) -> int:
    for slot in range(slots.shape[0]):
        if slots[slot, 0] < 0:
            return slot
    return 0
