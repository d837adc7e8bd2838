"""The host of every carrier along a run, from coarse-grained positions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple, Self

import numpy as np

from laoc_flows.analysis.events.hop_kernels import (
    CARRIER,
    CENTER,
    LIGAND,
    MAX_IMAGE,
    NO_HOST,
    OTHER,
    RADIX,
    assign_hosts,
    bonded_centers,
    ligand_keys,
)
from laoc_flows.analysis.structure.bonds import assign_roles
from laoc_flows.analysis.structure.kernels import half_pairs
from laoc_flows.analysis.structure.tetrahedra import COORDINATION, type_label
from laoc_flows.analysis.trajectories.frame import FloatArray, IntArray, species_indices
from laoc_flows.analysis.trajectories.paths import Paths, moving_average
from laoc_flows.errors import InputError, TrajectoryError

BLOCK_BYTES = 16 * 2**20
"""Positions that are coarse-grained at once [bytes]; five times that is needed while it is done."""
FIRST_REACH = 3.5
"""Ligands of a carrier are looked for within this radius first, then further out [A]."""
SAMPLE_INTERVAL = 0.1
"""Coarse-grained positions are looked at this often [ps], or at every frame when those are further apart."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Coarse-grained positions at equal times.

    Parameters
    ----------
    paths : Paths
        Continuous positions.
    window : float
        Length of the centered moving average [ps]; 0 for none.
    stride : int
        Frames between samples.
    """

    paths: Paths
    window: float
    stride: int

    @property
    def width(self) -> int:
        """Frames in the moving average; always odd."""
        return 2 * (round(self.window / self.paths.time_step) // 2) + 1

    @property
    def interval(self) -> float:
        """Time between samples [ps]."""
        return self.stride * self.paths.time_step

    @property
    def n_samples(self) -> int:
        """Number of samples; the first is frame 0."""
        return -(-self.paths.n_frames // self.stride)

    def of(self, atoms: IntArray) -> FloatArray:
        """Return the samples of some atoms, shape (n_samples, n, 3) [A]."""
        return moving_average(self.paths.of(atoms), self.width, self.stride)

    def at(self, sample: int) -> FloatArray:
        """Return all atoms in one sample, shape (n_atoms, 3) [A]."""
        center = sample * self.stride
        half = min(self.width // 2, center, self.paths.n_frames - 1 - center)
        return np.asarray(self.paths.of(None, center - half, center + half + 1).mean(axis=0))

    def blocks(self, max_bytes: int = BLOCK_BYTES) -> Iterator[FloatArray]:
        """Yield consecutive samples of all atoms, shape (n, n_atoms, 3) [A]."""
        lead = -(-(self.width // 2) // self.stride)
        per_block = max(1, max_bytes // (24 * len(self.paths.species) * self.stride))
        for first in range(0, self.n_samples, per_block):
            stop = min(first + per_block, self.n_samples)
            # The overlap makes every window whole, so that blocks cannot be told from their samples.
            skipped = min(first, lead)
            last = min((stop - 1) * self.stride + self.width // 2 + 1, self.paths.n_frames)
            part = self.paths.of(None, (first - skipped) * self.stride, last)
            yield moving_average(part, self.width, self.stride)[skipped : skipped + stop - first]

    def ion_batches(self, ions: IntArray) -> Iterator[tuple[int, FloatArray]]:
        """Yield the row and the samples, shape (n_samples, 3) [A], of one ion after the other."""
        size = max(1, BLOCK_BYTES // (24 * self.paths.n_frames))
        for first in range(0, ions.size, size):
            part = self.of(ions[first : first + size])
            for k in range(part.shape[1]):
                yield first + k, np.ascontiguousarray(part[:, k])


def auto_stride(time_step: float, stride: int | None) -> int:
    """Return the frames between samples.

    Parameters
    ----------
    time_step : float
        Time between frames [ps].
    stride : int or None
        As asked for; None for the most that are within 0.1 ps.

    Returns
    -------
    int
        At least 1.

    Raises
    ------
    InputError
        When `stride` is below 1.
    """
    if stride is None:
        return max(1, int(SAMPLE_INTERVAL / time_step + 1e-6))
    if stride < 1:
        message = f"stride is {stride}, not at least 1"
        raise InputError(message)
    return stride


@dataclass(frozen=True, eq=False)
class HopRoles:
    """Which atoms play which part.

    Parameters
    ----------
    center, carrier : str
        Elements of the hosts and of the hopping ions.
    ligands : tuple of str
        Elements of the anions.
    cutoffs : dict of str to float
        Bond cutoffs [A].
    of_atom : ndarray of int, shape (n_atoms,)
        Role of every atom.
    centers, carriers : ndarray of int
        Atom indices, ascending.
    """

    center: str
    carrier: str
    ligands: tuple[str, ...]
    cutoffs: dict[str, float]
    of_atom: IntArray
    centers: IntArray
    carriers: IntArray

    @classmethod
    def assign(
        cls,
        species: Sequence[str],
        center: str,
        ligands: Sequence[str],
        carrier: str,
        cutoffs: Mapping[str, float] | None,
    ) -> Self:
        """Sort atoms into centers, ligands, carriers and the rest.

        Parameters
        ----------
        species : sequence of str
            Element of every atom.
        center : str
            Element of the hosts.
        ligands : sequence of str
            Elements of the anions.
        carrier : str
            Element of the hopping ions.
        cutoffs : mapping of str to float or None
            Bond cutoffs [A], as in `bonds`.

        Returns
        -------
        HopRoles
            Without indices where an element is absent.

        Raises
        ------
        InputError
            When an element has two roles or a ligand no positive cutoff.
        """
        known = assign_roles(species, center, ligands, cutoffs)
        if carrier in {center, *ligands}:
            message = f"the carrier {carrier} is also the center or a ligand"
            raise InputError(message, remedy="give every element one role")
        of_atom = np.full(len(species), OTHER, dtype=np.int64)
        of_atom[known.centers] = CENTER
        of_atom[known.anions] = LIGAND + known.ligand_of_anion
        carriers = species_indices(tuple(species), carrier)
        of_atom[carriers] = CARRIER
        return cls(center, carrier, known.ligands, known.cutoffs, of_atom, known.centers, carriers)

    def radii(self, reach: float, chain_cutoff: float = 0.0) -> FloatArray:
        """Return the radius [A] between any two roles: bonds, carriers with ligands, centers with centers."""
        table = np.zeros((LIGAND + len(self.ligands),) * 2)
        table[CENTER, CENTER] = chain_cutoff
        for k, ligand in enumerate(self.ligands):
            table[CENTER, LIGAND + k] = table[LIGAND + k, CENTER] = self.cutoffs[ligand]
            table[CARRIER, LIGAND + k] = table[LIGAND + k, CARRIER] = reach
        return table


class TypeTable:
    """Numbers of ligands of each element around a center, numbered as they turn up."""

    def __init__(self, roles: HopRoles) -> None:
        self._roles = roles
        self._slot = np.full(roles.of_atom.size, -1, dtype=np.int64)
        self._slot[roles.centers] = np.arange(roles.centers.size)
        self._names: dict[int, int] = {}
        n = len(roles.ligands)
        for counts in product(range(COORDINATION + 1), repeat=n):
            if sum(counts) == COORDINATION:
                self._names.setdefault(self._key(counts), len(self._names))

    @staticmethod
    def _key(counts: Sequence[int]) -> int:
        return sum(count * RADIX**k for k, count in enumerate(counts))

    def __len__(self) -> int:
        return len(self._names)

    def of_centers(self, i: IntArray, j: IntArray) -> IntArray:
        """Return the type of every center, shape (n_centers,), from the contacts of a frame."""
        keys = ligand_keys(i, j, self._roles.of_atom, self._slot, self._roles.centers.size)
        distinct, inverse = np.unique(keys, return_inverse=True)
        for key in distinct.tolist():
            self._names.setdefault(key, len(self._names))
        return np.array([self._names[key] for key in distinct.tolist()], dtype=np.int64)[inverse]

    def labels(self) -> tuple[str, ...]:
        """Return the names, ``"AlOCl3"`` for four bonds and ``"CN5:O2Cl3"`` for others."""
        n = len(self._roles.ligands)
        return tuple(
            type_label([(key // RADIX**k) % RADIX for k in range(n)], self._roles.center, self._roles.ligands)
            for key in self._names
        )


class HostSeries(NamedTuple):
    """The hosts of a run.

    Parameters
    ----------
    ion, first, code : ndarray of int, shape (n_runs,)
        Row of the carrier, first sample and host code of every run of equal hosts, by ion and time.
    structure : ndarray of int, shape (n_types,)
        Centers of each type, summed over samples.
    neighbor : ndarray of int, shape (n_carriers, n_types)
        Samples that each carrier spends next to each type.
    """

    ion: IntArray
    first: IntArray
    code: IntArray
    structure: IntArray
    neighbor: IntArray


def host_series(samples: Samples, roles: HopRoles, types: TypeTable, gap: float) -> HostSeries:
    """Follow the host of every carrier.

    Parameters
    ----------
    samples : Samples
        Coarse-grained positions.
    roles : HopRoles
        Which atoms play which part.
    types : TypeTable
        Grows by the types that turn up.
    gap : float
        The host stays unless another is closer by at least this [A].

    Returns
    -------
    HostSeries
        Memory grows with the changes of host, not with the samples.

    Raises
    ------
    TrajectoryError
        When atoms lie thousands of cells apart.
    """
    cell = np.ascontiguousarray(samples.paths.cells[0])
    heights = 1 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    slot = np.full(roles.of_atom.size, -1, dtype=np.int64)
    slot[roles.centers] = np.arange(roles.centers.size)
    n = roles.carriers.size
    current = np.full(n, NO_HOST, dtype=np.int64)
    ion, first, code = [], [], []
    structure, neighbor = np.zeros(0, dtype=np.int64), np.zeros((n, 0), dtype=np.int64)
    sample = 0
    for block in samples.blocks():
        if np.abs(block).max() > MAX_IMAGE / 4 * heights.min():
            message = "some positions lie more than a thousand cells from the origin"
            raise TrajectoryError(message, remedy="wrap the first frame into its cell")
        for positions in block:
            host, i, j = _hosts(positions, cell, roles, gap, current)
            changed = np.flatnonzero(host != current) if sample else np.arange(n)
            ion.append(changed)
            first.append(np.full(changed.size, sample))
            code.append(host[changed])
            current = host
            kind = types.of_centers(i, j)
            if len(types) > structure.size:
                more = len(types) - structure.size
                structure, neighbor = np.pad(structure, (0, more)), np.pad(neighbor, ((0, 0), (0, more)))
            structure += np.bincount(kind, minlength=structure.size)
            hosted = np.flatnonzero(host != NO_HOST)
            neighbor[hosted, kind[slot[host[hosted] // (2 * MAX_IMAGE + 2) ** 3]]] += 1
            sample += 1
    ions, firsts = np.concatenate(ion), np.concatenate(first)
    order = np.lexsort((firsts, ions))
    return HostSeries(ions[order], firsts[order], np.concatenate(code)[order], structure, neighbor)


def _hosts(
    positions: FloatArray, cell: FloatArray, roles: HopRoles, gap: float, previous: IntArray
) -> tuple[IntArray, IntArray, IntArray]:
    """Return the hosts of one sample, and its contacts."""
    slot = np.full(roles.of_atom.size, -1, dtype=np.int64)
    slot[roles.carriers] = np.arange(roles.carriers.size)
    reach = FIRST_REACH
    i, j, image, distance = half_pairs(positions, cell, roles.of_atom, roles.radii(reach))
    bonds = bonded_centers(i, j, image, roles.of_atom)
    host, nearest = assign_hosts(
        i, j, image, distance, roles.of_atom, slot, bonds, positions, cell, gap, previous
    )
    # Nobody is further from a ligand than this, whatever the cell.
    furthest = np.linalg.norm(cell, axis=1).sum() + gap
    far = np.flatnonzero(nearest + gap > reach)
    while far.size and bonds[1].size and reach < furthest:
        reach *= 1.6
        few = roles.of_atom.copy()
        few[np.delete(roles.carriers, far)] = OTHER
        more = half_pairs(positions, cell, few, roles.radii(reach))
        bonds = bonded_centers(more[0], more[1], more[2], few)
        found, nearest = assign_hosts(*more, few, slot, bonds, positions, cell, gap, previous)
        host[far] = found[far]
        far = far[nearest[far] + gap > reach]
    return host, i, j
