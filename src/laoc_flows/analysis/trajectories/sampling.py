"""Which frames of a run an analysis looks at, and how they come into memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from laoc_flows.analysis.trajectories.frame import FloatArray, IntArray, StructureLike, as_frame
from laoc_flows.analysis.trajectories.series import CHUNK_BYTES, FrameSeries
from laoc_flows.analysis.trajectories.trajectory import Trajectory
from laoc_flows.errors import InputError

_SPARSE = 16


def as_series(source: FrameSeries | StructureLike) -> FrameSeries:
    """Return a run as it is, and a single structure as a run of one frame.

    Parameters
    ----------
    source : FrameSeries, Frame, ase.Atoms or pymatgen.core.Structure
        Frames or a structure.

    Returns
    -------
    FrameSeries
        The frames; the time step of a single one is 1 ps.

    Raises
    ------
    InputError
        When the object is of another kind, is not periodic, or has a partly occupied site.

    Examples
    --------
    >>> from ase.build import bulk
    >>> as_series(bulk("Al")).n_frames
    1
    """
    if isinstance(source, FrameSeries):
        return source
    frame = as_frame(source)
    return Trajectory(frame.species, frame.positions[None], frame.cell, 1.0)


def visit_frames(series: FrameSeries, chosen: npt.ArrayLike) -> Iterator[tuple[int, FloatArray, FloatArray]]:
    """Visit chosen frames in order, a chunk in memory at a time.

    Parameters
    ----------
    series : FrameSeries
        The run.
    chosen : array_like of int
        Indices of frames, ascending.

    Yields
    ------
    number : int
        Which of the chosen frames it is.
    positions : ndarray, shape (n_atoms, 3)
        Positions as stored [A].
    cell : ndarray, shape (3, 3)
        Rows are a, b and c [A].

    Examples
    --------
    >>> run = Trajectory(("Li",), np.arange(6.0).reshape(6, 1, 1) * [1, 0, 0], 9 * np.eye(3), 1.0)
    >>> [float(positions[0, 0]) for _, positions, _ in visit_frames(run, [1, 4])]
    [1.0, 4.0]
    """
    wanted = np.asarray(chosen, dtype=np.int64)
    length = max(1, CHUNK_BYTES // (24 * series.n_atoms))
    done = 0
    while done < wanted.size:
        first = int(wanted[done])
        within = wanted[done : int(np.searchsorted(wanted, first + length))]
        # Frames far apart are fetched one by one instead of with all that lies between them.
        if within[-1] - first >= _SPARSE * within.size:
            within = within[:1]
        part = series.block(first, int(within[-1]) + 1)
        for k in within:
            yield done, part.positions[k - first], part.cells[k - first]
            done += 1


def evenly_spread(n_frames: int, max_frames: int | None) -> IntArray:
    """Choose frames that are spread evenly over a run.

    Parameters
    ----------
    n_frames : int
        Length of the run.
    max_frames : int or None
        How many to take at most; all for None.

    Returns
    -------
    ndarray of int, shape (min(n_frames, max_frames),)
        Ascending indices, the first and the last frame among them.

    Raises
    ------
    InputError
        When `max_frames` is not positive.

    Examples
    --------
    >>> evenly_spread(101, 5).tolist()
    [0, 25, 50, 75, 100]
    >>> evenly_spread(3, 5).tolist()
    [0, 1, 2]
    """
    if max_frames is None or n_frames <= max_frames:
        return np.arange(n_frames)
    if max_frames < 1:
        message = f"max_frames = {max_frames} leaves no frame"
        raise InputError(message)
    return np.asarray(np.rint(np.linspace(0, n_frames - 1, max_frames)), dtype=np.int64)
