"""Laying a run over a crystal: the supercell, the sites, and the translation between the two."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import scipy

from laoc_flows.analysis.structure.kernels import half_pairs
from laoc_flows.analysis.trajectories.frame import FloatArray, IntArray, species_indices
from laoc_flows.analysis.trajectories.sampling import visit_frames
from laoc_flows.analysis.trajectories.series import FrameSeries
from laoc_flows.analysis.trajectories.trajectory import Trajectory
from laoc_flows.errors import InputError

_SPACING = 0.4
_WIDTH = 0.5
_ROUNDS = 30
_REACH = 1.0
_CONVERGED = 1e-9


def matched_crystal(
    crystal: FrameSeries, chosen: IntArray, series: FrameSeries, max_strain: float
) -> Trajectory:
    """Repeat chosen frames of a crystal until they fill the cell of a run.

    Parameters
    ----------
    crystal : FrameSeries
        The crystal, in any supercell along the axes of the run.
    chosen : ndarray of int, shape (n,)
        Indices of its frames.
    series : FrameSeries
        The run.
    max_strain : float
        Largest component of the strain between the two cells.

    Returns
    -------
    Trajectory
        The crystal in its own, unstrained supercell; same atoms as the run, perhaps in another order.

    Raises
    ------
    InputError
        When no supercell fits, or when it holds other atoms.

    Examples
    --------
    >>> from ase.build import bulk
    >>> unit, cell = bulk("Al", cubic=True), bulk("Al", cubic=True) * (3, 2, 1)
    >>> runs = [Trajectory.from_ase([atoms], 1.0) for atoms in (unit, cell)]
    >>> matched_crystal(runs[0], np.array([0]), runs[1], max_strain=0.1).n_atoms
    24
    """
    own, target = crystal.cells[0], series.cells[0]
    matrix = np.rint(target @ np.linalg.inv(own)).astype(np.int64)
    times = round(abs(np.linalg.det(matrix)))
    remedy = "give the crystal in the cell of the run, or a unit cell along the same axes"
    if times == 0:
        message = "the cell of the run is no supercell of the crystal"
        raise InputError(message, remedy=remedy)
    strain = float(np.abs(np.linalg.inv(matrix @ own) @ target - np.eye(3)).max())
    if strain > max_strain:
        message = (
            f"the closest supercell of the crystal is strained by {strain:.2f}, more than {max_strain:g}"
        )
        raise InputError(message, remedy=remedy)
    species = tuple(symbol for symbol in crystal.species for _ in range(times))
    if sorted(species) != sorted(series.species):
        message = f"a supercell of {times} crystal cells holds {len(species)} atoms, and not those of the run"
        raise InputError(message, remedy=remedy)
    from ase.build.supercells import lattice_points_in_supercell

    points = np.asarray(lattice_points_in_supercell(matrix)) @ matrix
    positions = np.empty((chosen.size, len(species), 3))
    cells = np.matmul(matrix, crystal.cells[chosen])
    for number, frame, cell in visit_frames(crystal, chosen):
        positions[number] = (frame[:, None] + points @ cell).reshape(-1, 3)
    return Trajectory(species, positions, cells, crystal.time_step)


def mean_sites(crystal: Trajectory, framework: IntArray) -> FloatArray:
    """Return where the atoms of a crystal are, free of drift.

    Parameters
    ----------
    crystal : Trajectory
        The crystal, no longer than fits into memory.
    framework : ndarray of int, shape (n,)
        Atoms that define the drift.

    Returns
    -------
    ndarray, shape (n_atoms, 3)
        Fractional coordinates: the median over the frames, so that an atom that leaves for a while has its
        site.

    Examples
    --------
    >>> moves = np.array([[[0.0, 0, 0], [5, 0, 0]], [[2, 0, 0], [7, 0, 0]], [[4, 0, 0], [9.3, 0, 0]]])
    >>> mean_sites(Trajectory(("Al", "Li"), moves, 10 * np.eye(3), 1.0), np.array([0])).round(3)[:, 0].tolist()
    [0.0, 0.5]
    """
    fractional = np.matmul(crystal.positions, np.linalg.inv(crystal.cells))
    moves = fractional - fractional[0]
    for k in range(1, crystal.n_frames):
        moves[k] -= rigid_shift(moves[k, framework])
    moves -= np.rint(moves)
    return np.asarray(fractional[0] + np.median(moves, axis=0))


def rigid_shift(moves: FloatArray) -> FloatArray:
    """Return the common part of displacements that are known up to lattice vectors.

    Parameters
    ----------
    moves : ndarray, shape (n, 3)
        Fractional displacements.

    Returns
    -------
    ndarray, shape (3,)
        The mean around the circular mean.

    Examples
    --------
    >>> rigid_shift(np.array([[0.5, 0.9, 0.0], [0.5, -0.1, 0.2]])).round(3).tolist()
    [0.5, -0.1, 0.1]
    """
    shift = np.angle(np.exp(2j * np.pi * moves).mean(axis=0)) / (2 * np.pi)
    rest = moves - shift
    return np.asarray(shift + (rest - np.rint(rest)).mean(axis=0))


class Overlay:
    """Finds the translation that lays the atoms of a frame over the sites of a crystal, whatever their order.

    Parameters
    ----------
    sites : ndarray, shape (n_atoms, 3)
        Fractional coordinates of the sites.
    site_species : sequence of str, shape (n_atoms,)
        Their elements.
    species : sequence of str, shape (n_atoms,)
        Elements of the atoms.
    symbols : sequence of str
        Elements that count.
    cell : ndarray, shape (3, 3)
        A cell of the run; rows are a, b and c [A].

    Notes
    -----
    The maximum of the cross-correlation of the two densities, element by element and over all
    translations, by fast Fourier transform on a grid of 0.4 A, smoothed with a Gaussian of 0.5 A; then moved
    by the mean distance of the atoms to the sites within 1 A until it stays.

    Examples
    --------
    >>> sites = np.array([[0.0, 0, 0], [0.3, 0, 0], [0, 0.4, 0.1]])
    >>> overlay = Overlay(sites, ("Al",) * 3, ("Al",) * 3, ("Al",), 10 * np.eye(3))
    >>> overlay.shift(sites[[2, 0, 1]] + [0.25, 0, 0], 10 * np.eye(3)).round(6).tolist()
    [0.25, 0.0, 0.0]
    """

    def __init__(
        self,
        sites: FloatArray,
        site_species: Sequence[str],
        species: Sequence[str],
        symbols: Sequence[str],
        cell: FloatArray,
    ) -> None:
        self._sites = sites
        self._of_sites = [species_indices(tuple(site_species), symbol) for symbol in symbols]
        self._of_atoms = [species_indices(tuple(species), symbol) for symbol in symbols]
        inverse = np.linalg.inv(cell)
        heights = 1 / np.linalg.norm(inverse, axis=0)
        self._shape = tuple(
            scipy.fft.next_fast_len(int(np.ceil(height / _SPACING)), real=True) for height in heights
        )
        waves = [np.fft.fftfreq(n, 1 / n) for n in self._shape[:2]]
        waves.append(np.fft.rfftfreq(self._shape[2], 1 / self._shape[2]))
        metric = inverse.T @ inverse
        squares = np.zeros((1, 1, 1))
        grids = np.meshgrid(*waves, indexing="ij", sparse=True)
        for i in range(3):
            for j in range(3):
                squares = squares + metric[i, j] * grids[i] * grids[j]
        smooth = np.exp(-2 * (np.pi * _WIDTH) ** 2 * squares)
        self._filters = [
            np.conj(scipy.fft.rfftn(self._density(sites[part]))) * smooth for part in self._of_sites
        ]

    def _density(self, fractional: FloatArray) -> FloatArray:
        """Share every atom among the eight grid points around it, so that no translation is favored."""
        scaled = (fractional - np.floor(fractional)) * self._shape
        low = np.floor(scaled).astype(np.int64)
        part = scaled - low
        density = np.zeros(int(np.prod(self._shape)))
        for corner in np.ndindex(2, 2, 2):
            x, y, z = ((low + corner) % self._shape).T
            flat = np.ravel_multi_index((x, y, z), self._shape)
            weights = np.where(corner, part, 1 - part).prod(axis=1)
            density += np.bincount(flat, weights, minlength=density.size)
        return density.reshape(self._shape)

    def shift(self, fractional: FloatArray, cell: FloatArray) -> FloatArray:
        """Return the translation that takes the sites to the atoms.

        Parameters
        ----------
        fractional : ndarray, shape (n_atoms, 3)
            Fractional coordinates of the atoms.
        cell : ndarray, shape (3, 3)
            Cell of the frame [A].

        Returns
        -------
        ndarray, shape (3,)
            Fractional translation; any lattice translation of the crystal may be added.
        """
        product = sum(
            scipy.fft.rfftn(self._density(fractional[part])) * known
            for part, known in zip(self._of_atoms, self._filters, strict=True)
        )
        overlap = scipy.fft.irfftn(product, s=self._shape)
        best = np.array(np.unravel_index(int(overlap.argmax()), self._shape)) / self._shape
        for _ in range(_ROUNDS):
            step = self._mean_distance(fractional, best, cell)
            best = best + step
            if np.abs(step).max() < _CONVERGED:
                break
        return np.asarray(best)

    def _mean_distance(self, fractional: FloatArray, shift: FloatArray, cell: FloatArray) -> FloatArray:
        """Return the mean fractional distance from the sites to the atoms near them."""
        atoms = np.concatenate(self._of_atoms)
        sites = np.concatenate(self._of_sites)
        kinds = np.concatenate(
            [
                np.concatenate([np.full(len(part), 2 * k + end) for k, part in enumerate(parts)])
                for end, parts in enumerate((self._of_atoms, self._of_sites))
            ]
        )
        cutoffs = np.zeros((2 * len(self._of_atoms), 2 * len(self._of_atoms)))
        for k in range(len(self._of_atoms)):
            cutoffs[2 * k, 2 * k + 1] = cutoffs[2 * k + 1, 2 * k] = _REACH
        points = np.concatenate([fractional[atoms], self._sites[sites] + shift])
        i, j, image, _ = half_pairs(points @ cell, cell, kinds, cutoffs)
        # Atoms come before sites, and contacts have i < j.
        return np.asarray((points[i] - points[j] - image).mean(axis=0)) if i.size else np.zeros(3)
