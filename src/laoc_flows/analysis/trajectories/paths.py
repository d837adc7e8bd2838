"""Continuous, drift-free paths of atoms: what every analysis of motion starts from."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from ase.data import atomic_masses, atomic_numbers

from laoc_flows.analysis.trajectories.frame import FloatArray, IntArray, species_indices
from laoc_flows.errors import TrajectoryError

Drift: TypeAlias = Literal["framework", "com", "none"]

CARRIER = "Li"
"""The mobile element, which does not belong to the framework."""
MAX_STEP = 0.4
"""Largest fractional displacement between stored frames that can still be unwrapped without guessing."""


class Block(NamedTuple):
    """Consecutive frames in memory.

    Parameters
    ----------
    positions : ndarray, shape (n, n_atoms, 3)
        Cartesian positions [A].
    cells : ndarray, shape (n, 3, 3)
        Rows are a, b and c [A].
    """

    positions: FloatArray
    cells: FloatArray


@dataclass(frozen=True, eq=False)
class Paths:
    """Continuous positions of all atoms of a run, in memory or spooled to a temporary file.

    Parameters
    ----------
    species : tuple of str, shape (n_atoms,)
        Element symbols.
    cells : ndarray, shape (n_frames, 3, 3)
        Rows are a, b and c [A].
    time_step : float
        Time between frames [ps].
    drift : {"framework", "com", "none"}
        What was held at rest.
    carrier : str
        The mobile element of the drift ``"framework"``.
    origin : ndarray, shape (n_atoms, 3)
        Positions in the first frame [A].
    values : ndarray, shape (n_frames, n_atoms, 3) or (n_atoms, n_frames, 3)
        Positions [A], or with `spooled` the displacements from `origin`, atom by atom.
    spooled : bool
        Whether `values` lies on disk, atom by atom, in single precision (3e-6 A at a displacement of 50 A).
    """

    species: tuple[str, ...]
    cells: FloatArray
    time_step: float
    drift: Drift
    carrier: str
    origin: FloatArray
    values: npt.NDArray[Any]
    spooled: bool = False

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.cells)

    @property
    def duration(self) -> float:
        """Time between the first and the last frame [ps]."""
        return (self.n_frames - 1) * self.time_step

    def indices(self, symbol: str) -> IntArray:
        """Return the indices of the atoms of one element, ascending."""
        return species_indices(self.species, symbol)

    def of(self, atoms: npt.ArrayLike | None = None, start: int = 0, stop: int | None = None) -> FloatArray:
        """Return the positions of chosen atoms in consecutive frames.

        Parameters
        ----------
        atoms : array_like of int, shape (n,), optional
            Indices; all atoms by default.
        start, stop : int
            Half-open range of frames; to the end by default.

        Returns
        -------
        ndarray, shape (n_chosen_frames, n, 3)
            Continuous, drift-free positions [A]. May be a read-only view.
        """
        which: Any = slice(None) if atoms is None else np.asarray(atoms, dtype=np.int64)
        if not self.spooled:
            return np.asarray(self.values[start:stop, which])
        moved = np.asarray(self.values[which, start:stop], dtype=np.float64).transpose(1, 0, 2)
        return np.asarray(moved + self.origin[which])


def drift_weights(species: Sequence[str], drift: Drift, carrier: str = CARRIER) -> FloatArray | None:
    """Return the weight of every atom in the mean that is held at rest.

    Parameters
    ----------
    species : sequence of str, shape (n_atoms,)
        Element symbols.
    drift : {"framework", "com", "none"}
        The unweighted mean of all atoms that are not the carrier, the center of mass, or nothing.
    carrier : str, default "Li"
        The mobile element.

    Returns
    -------
    ndarray, shape (n_atoms,) or None
        Sums to one; None for ``"none"``.

    Raises
    ------
    TrajectoryError
        When `drift` is unknown, or when there is no framework.
    """
    if drift == "none":
        return None
    if drift == "com":
        weights = np.array([atomic_masses[atomic_numbers[s]] for s in species])
    elif drift == "framework":
        weights = np.array([float(s != carrier) for s in species])
    else:
        message = f"drift = {drift!r} is not one of {', '.join(get_args(Drift))}"
        raise TrajectoryError(message)
    total = weights.sum()
    if total <= 0:
        message = f"there is no framework: all {len(species)} atoms are {carrier}"
        raise TrajectoryError(message, remedy="use drift='com' or 'none'")
    return np.asarray(weights / total)


def unwrap(
    blocks: Iterable[Block], species: Sequence[str], weights: FloatArray | None, *, continuous: bool = False
) -> Iterator[Block]:
    """Make positions continuous and drift free, block by block.

    Parameters
    ----------
    blocks : iterable of Block
        Consecutive blocks of frames.
    species : sequence of str, shape (n_atoms,)
        Element symbols, for messages.
    weights : ndarray, shape (n_atoms,) or None
        Mean that is held at rest, from `drift_weights`.
    continuous : bool, default False
        Whether the positions are continuous already (image flags); then nothing is unwrapped.

    Yields
    ------
    Block
        Fractional positions, and cells as they came; the very first frame is as stored.

    Raises
    ------
    TrajectoryError
        When an atom moves by 0.4 or more of a cell vector between frames.
    """
    last: FloatArray | None = None
    turns = np.zeros((len(species), 3))
    first = np.zeros((len(species), 3))
    done = 0
    for block in blocks:
        fractional = np.matmul(block.positions, np.linalg.inv(block.cells))
        if last is None:
            first = fractional[0].copy()
            last = first
        if not continuous:
            steps = np.diff(fractional, axis=0, prepend=last[None])
            jumps = np.rint(steps)
            steps -= jumps
            np.abs(steps, out=steps)
            if steps.max() >= MAX_STEP:
                frame, atom, axis = (int(k) for k in np.unravel_index(steps.argmax(), steps.shape))
                message = (
                    f"{species[atom]} atom {atom} moves by {steps[frame, atom, axis]:.2f} of cell vector "
                    f"{'abc'[axis]} between frames {done + frame - 1} and {done + frame}; "
                    f"below {MAX_STEP} is needed to unwrap"
                )
                raise TrajectoryError(message, remedy="store frames more often")
            last = fractional[-1].copy()
            # Whole cells are subtracted, so that rounding errors do not accumulate along the run.
            jumps[0] += turns
            # Frame by frame, which stays in the cache: np.cumsum along the first axis takes five times as long.
            for before, after in pairwise(jumps):
                np.add(before, after, out=after)
            turns = jumps[-1].copy()
            fractional -= jumps
        if weights is not None:
            fractional -= (weights @ fractional - weights @ first)[:, None, :]
        done += len(fractional)
        yield Block(fractional, block.cells)


def spool(blocks: Iterable[Block], n_frames: int, n_atoms: int) -> tuple[FloatArray, npt.NDArray[np.float32]]:
    """Write continuous positions to a temporary file, atom by atom.

    Parameters
    ----------
    blocks : iterable of Block
        From `unwrap`, fractional positions.
    n_frames, n_atoms : int
        Size of the run.

    Returns
    -------
    origin : ndarray, shape (n_atoms, 3)
        Positions in the first frame [A].
    displacements : memmap of float32, shape (n_atoms, n_frames, 3)
        Displacements from it [A]. The file has no name: nothing is left of it, however the process ends.
    """
    with tempfile.TemporaryFile(prefix="laoc-paths-") as file:
        values = np.memmap(file, dtype=np.float32, mode="w+", shape=(n_atoms, n_frames, 3))
    origin = np.zeros((n_atoms, 3))
    done = 0
    for block in blocks:
        positions = np.matmul(block.positions, block.cells)
        if done == 0:
            origin = positions[0].copy()
        values[:, done : done + len(positions)] = (positions - origin).transpose(1, 0, 2)
        done += len(positions)
    return origin, values


def moving_average(values: npt.ArrayLike, width: int, stride: int = 1) -> FloatArray:
    """Average over a centered window along the first axis.

    Parameters
    ----------
    values : array_like, shape (n, ...)
        Samples in time order.
    width : int
        Length of the window; an even one is made odd by one more sample. Near the ends, where the window does not
        fit, it is shortened on both sides alike, so that it stays centered.
    stride : int, default 1
        Distance between the centers; the first is sample 0.

    Returns
    -------
    ndarray, shape (ceil(n / stride), ...)
        The averages.

    Examples
    --------
    >>> moving_average([0.0, 3.0, 0.0, 3.0, 6.0], width=3).tolist()
    [0.0, 1.0, 2.0, 3.0, 6.0]
    """
    array = np.asarray(values, dtype=np.float64)
    n = len(array)
    centers = np.arange(0, n, stride)
    half = np.minimum(max(width, 1) // 2, np.minimum(centers, n - 1 - centers))
    # Sums run over differences from the first sample, which keeps the digits of long sums.
    sums = np.concatenate([np.zeros((1, *array.shape[1:])), np.cumsum(array - array[0], axis=0)])
    length = (2 * half + 1).reshape(-1, *(1,) * (array.ndim - 1))
    return np.asarray((sums[centers + half + 1] - sums[centers - half]) / length + array[0])
