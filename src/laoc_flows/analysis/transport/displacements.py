"""Squared displacements over lags and time origins, a few atoms at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy

from laoc_flows.analysis.compiled import compiled
from laoc_flows.analysis.trajectories.frame import FloatArray, IntArray
from laoc_flows.analysis.trajectories.paths import Paths
from laoc_flows.analysis.trajectories.series import FrameSeries
from laoc_flows.errors import InputError, TrajectoryError

_BATCH = 64
_BATCH_BYTES = 32 * 2**20


class SquareBlocks(NamedTuple):
    """Squared displacements, averaged over the atoms and the time origins of each block.

    Parameters
    ----------
    mean : ndarray, shape (n_blocks, n_lags)
        Mean squared displacement [A^2].
    variance : ndarray, shape (n_blocks, n_lags)
        Variance of the single squared displacements [A^4].
    per_atom : ndarray, shape (n_atoms, n_lags)
        Mean squared displacement of every atom over all blocks [A^2].
    """

    mean: FloatArray
    variance: FloatArray
    per_atom: FloatArray


def chosen_atoms(trajectory: FrameSeries, species: str, atoms: npt.ArrayLike | None = None) -> IntArray:
    """Return the atoms whose displacements are asked for, once it is clear that there can be any.

    Parameters
    ----------
    trajectory : FrameSeries
        A run.
    species : str
        The element.
    atoms : array_like of int, shape (n,), optional
        Indices; every atom of the element by default.

    Returns
    -------
    ndarray of int, shape (n,)
        Indices; empty when the element is absent.

    Raises
    ------
    TrajectoryError
        When the cell varies.
    InputError
        When one of `atoms` is no atom of the element, or is named twice.
    """
    if not trajectory.constant_cell:
        message = "the cell varies, and displacements in it are not diffusion"
        raise TrajectoryError(message, remedy="take the MSD from an NVT run at the mean volume")
    every = trajectory.indices(species)
    if atoms is None:
        return every
    chosen = np.asarray(atoms, dtype=np.int64).reshape(-1)
    if not np.isin(chosen, every).all() or np.unique(chosen).size != chosen.size:
        message = f"the atoms to average over are not different {species} atoms of the run"
        raise InputError(message)
    return chosen


def spread_lags(first: int, last: int, max_lags: int) -> IntArray:
    """Return lags that are even in the logarithm of time.

    Parameters
    ----------
    first, last : int
        Smallest and largest lag [frames].
    max_lags : int
        How many at most.

    Returns
    -------
    ndarray of int, shape (n_lags,)
        Different lags, ascending; empty when `last` is below `first`.

    Examples
    --------
    >>> spread_lags(1, 100, 5).tolist()
    [1, 3, 10, 32, 100]
    """
    if last < first:
        return np.zeros(0, dtype=np.int64)
    return np.unique(np.geomspace(first, last, max_lags).round().astype(np.int64))


def atom_series(paths: Paths, atoms: IntArray) -> Iterator[FloatArray]:
    """Yield the paths of a few atoms at a time, each coordinate contiguous in time and centered.

    Parameters
    ----------
    paths : Paths
        Continuous positions.
    atoms : ndarray of int, shape (n,)
        Indices.

    Yields
    ------
    ndarray, shape (n_batch, 3, n_frames)
        Positions relative to their mean over time [A]: the FFT, and sums of squares, lose the digits that a
        large constant offset takes.
    """
    batch = max(1, min(_BATCH, _BATCH_BYTES // (24 * paths.n_frames)))
    for first in range(0, atoms.size, batch):
        series = np.ascontiguousarray(paths.of(atoms[first : first + batch]).transpose(1, 2, 0))
        yield series - series.mean(axis=2, keepdims=True)


def mean_squares(series: FloatArray, n_lags: int, *, summed: bool) -> FloatArray:
    """Average squared displacements over all time origins.

    Parameters
    ----------
    series : ndarray, shape (n_atoms, 3, n_frames)
        Centered positions [A].
    n_lags : int
        Largest lag [frames]; below `n_frames`.
    summed : bool
        Whether to sum over the atoms.

    Returns
    -------
    ndarray, shape (n_atoms, 3, n_lags), or (3, n_lags) when summed
        Per axis, for the lags 1 to `n_lags` [A^2].
    """
    n = series.shape[-1]
    # Lags beyond n_lags may wrap around; nothing reads them.
    length = scipy.fft.next_fast_len(n + n_lags, real=True)
    spectrum = scipy.fft.rfft(series, n=length, axis=-1)
    power = spectrum.real**2 + spectrum.imag**2
    squares = series**2
    if summed:
        power, squares = power.sum(axis=0), squares.sum(axis=0)
    correlation = scipy.fft.irfft(power, n=length, axis=-1)[..., 1 : n_lags + 1]
    running = np.zeros((*squares.shape[:-1], n + 1))
    np.cumsum(squares, axis=-1, out=running[..., 1:])
    lags = np.arange(1, n_lags + 1)
    starts, ends = running[..., n - lags], running[..., n, None] - running[..., lags]
    return np.asarray((starts + ends - 2 * correlation) / (n - lags))


def square_blocks(paths: Paths, atoms: IntArray, lags: IntArray, borders: IntArray) -> SquareBlocks:
    """Average squared displacements at a few lags, block by block of time origins.

    Parameters
    ----------
    paths : Paths
        Continuous positions.
    atoms : ndarray of int, shape (n,)
        Indices; at least one.
    lags : ndarray of int, shape (n_lags,)
        Lags [frames].
    borders : ndarray of int, shape (n_blocks + 1,)
        Block b holds the origins ``borders[b] <= k < borders[b + 1]`` whose end ``k + lag`` lies in the run; there
        must be one for every lag.

    Returns
    -------
    SquareBlocks
        Means and variances.
    """
    totals = np.zeros((atoms.size, borders.size - 1, lags.size))
    squares = np.zeros(totals.shape[1:])
    done = 0
    for series in atom_series(paths, atoms):
        _add_squares(totals[done : done + len(series)], squares, series, lags, borders)
        done += len(series)
    origins = np.minimum(borders[1:, None], paths.n_frames - lags) - borders[:-1, None]
    counts = atoms.size * origins
    mean = totals.sum(axis=0) / counts
    variance = np.maximum(squares / counts - mean**2, 0.0) * counts / np.maximum(counts - 1, 1)
    return SquareBlocks(mean, variance, totals.sum(axis=1) / origins.sum(axis=0))


# Reordered sums are as exact as ordered ones, and only they use the vector units.
@compiled(fastmath={"reassoc", "contract"})
def _add_squares(
    totals: FloatArray, squares: FloatArray, series: FloatArray, lags: IntArray, borders: IntArray
) -> None:
    n_frames = series.shape[2]
    for atom in range(series.shape[0]):
        x, y, z = series[atom, 0], series[atom, 1], series[atom, 2]
        for m in range(lags.size):
            lag = lags[m]
            for b in range(borders.size - 1):
                total = 0.0
                square = 0.0
                for k in range(borders[b], min(borders[b + 1], n_frames - lag)):
                    dx = x[k + lag] - x[k]
                    dy = y[k + lag] - y[k]
                    dz = z[k + lag] - z[k]
                    s = dx * dx + dy * dy + dz * dz
                    total += s
                    square += s * s
                totals[atom, b, m] += total
                squares[b, m] += square
