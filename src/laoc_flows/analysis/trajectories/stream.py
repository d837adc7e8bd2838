"""Trajectories that stay in their files."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Callable
from typing import Protocol, Self, TypeAlias

import numpy as np

from laoc_flows.analysis.trajectories import readers
from laoc_flows.analysis.trajectories.frame import MIN_VOLUME, FloatArray
from laoc_flows.analysis.trajectories.h5md import Header
from laoc_flows.analysis.trajectories.paths import Drift, Paths
from laoc_flows.analysis.trajectories.series import FrameSeries
from laoc_flows.analysis.trajectories.trajectory import Trajectory
from laoc_flows.errors import TrajectoryError

Progress: TypeAlias = Callable[[int, "int | None"], None]


class Store(Protocol):
    """A file of positions that can be read from anywhere."""

    def read(self, start: int, stop: int) -> FloatArray:
        """Return the positions of consecutive frames [A]."""

    def close(self) -> None:
        """Close the file."""


class Spool:
    """Positions in a temporary file without a name: nothing is left of it, however the process ends.

    Parameters
    ----------
    progress : callable, optional
        Told the number of frames after every one, and None for the unknown total.

    Raises
    ------
    TrajectoryError
        When the temporary directory is full or not writeable.

    Notes
    -----
    The file lies where `tempfile` puts it; the environment variable ``TMPDIR`` moves it. It takes 24 bytes per
    atom and frame, because the positions keep their full precision.
    """

    def __init__(self, progress: Progress | None = None) -> None:
        self._progress = progress
        self._n_frames = 0
        self._shape: tuple[int, ...] = (0, 3)
        try:
            # Unbuffered, so that a full disk shows where it is written.
            self._file = tempfile.TemporaryFile(prefix="laoc-frames-", buffering=0)  # noqa: SIM115 (lives as long as this)
        except OSError as error:
            raise _no_room(error) from error
        self._closer = weakref.finalize(self, self._file.close)

    def append(self, positions: FloatArray) -> None:
        """Add a frame."""
        self._shape = positions.shape
        left = np.ascontiguousarray(positions, dtype=np.float64).data.cast("B")
        try:
            while left:
                left = left[self._file.write(left) :]
        except OSError as error:
            raise _no_room(error) from error
        self._n_frames += 1
        if self._progress is not None:
            self._progress(self._n_frames, None)

    def truncate(self, n_frames: int) -> None:
        """Keep the first frames only."""
        self._n_frames = n_frames
        self._file.seek(n_frames * self._frame_bytes)
        self._file.truncate()

    def read(self, start: int, stop: int) -> FloatArray:
        """Return the positions of consecutive frames.

        Parameters
        ----------
        start, stop : int
            Half-open range of frames.

        Returns
        -------
        ndarray, shape (stop - start, n_atoms, 3)
            Cartesian positions [A].

        Raises
        ------
        TrajectoryError
            When the file is closed or cut short.
        """
        values = np.empty((stop - start, *self._shape))
        left = values.data.cast("B")
        try:
            self._file.seek(start * self._frame_bytes)
            while left and (n_read := self._file.readinto(left)):
                left = left[n_read:]
        except ValueError as error:
            message = "the file is closed"
            raise TrajectoryError(message) from error
        if left:
            message = "the temporary copy of the file was cut short"
            raise TrajectoryError(message)
        return values

    def close(self) -> None:
        """Close the file, which ends it."""
        self._closer()

    @property
    def _frame_bytes(self) -> int:
        return 24 * self._shape[0]


def _no_room(error: OSError) -> TrajectoryError:
    message = f"the temporary copy of the file cannot be written ({error})"
    return TrajectoryError(message, remedy="set TMPDIR to a directory with more room")


class TrajectoryFile(FrameSeries):
    """A trajectory of which only a piece at a time is in memory; what `Trajectory.open` returns.

    Every analysis takes it in place of a `Trajectory`. It closes its file as a context manager, by `close`, or
    when nothing refers to it any more.

    Parameters
    ----------
    header : Header
        All but the positions.
    store : H5MDFile or Spool
        The positions.
    first : int, default 0
        Frame of `store` that comes first here.

    Raises
    ------
    TrajectoryError
        When a cell has no volume.

    Notes
    -----
    Memory holds the cells (72 bytes per frame) and what the reading of one chunk takes, two and a half times the
    64 MiB of its positions; `paths` stays below that. It writes to a temporary file of 12 bytes per atom and
    frame; pages of it that the system keeps in memory are given up when memory is needed elsewhere.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from laoc_flows.analysis import Trajectory
    >>> run = Trajectory(("Li", "Cl"), np.zeros((5, 2, 3)), 9.0 * np.eye(3), time_step=0.002)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with Trajectory.open(run.write(f"{folder}/run.h5md")) as file:
    ...         (file.n_frames, file.time_step, [part.n_frames for part in file.chunks(max_bytes=100)])
    (5, 0.002, [2, 2, 1])
    """

    def __init__(self, header: Header, store: Store, first: int = 0) -> None:
        self._header = header
        self._store = store
        self._first = first
        self._paths: dict[tuple[Drift, str], Paths] = {}
        self.species = header.species
        self.cells = header.cells.view()
        self.cells.flags.writeable = False
        self.time_step = header.time_step
        self.start_time = header.start_time
        self.continuous = header.continuous
        if self.volumes.min() < MIN_VOLUME:
            message = "a cell has no volume"
            raise TrajectoryError(message, remedy="store a periodic cell with every frame")

    def block(self, start: int, stop: int) -> Trajectory:
        """Read the frames ``start <= k < stop``.

        Parameters
        ----------
        start, stop : int
            Half-open range of frames; it may reach beyond the end.

        Returns
        -------
        Trajectory
            In memory, with absolute times.

        Raises
        ------
        TrajectoryError
            When the file is closed or cannot be read, or no frame lies inside.
        """
        start, stop, _ = slice(start, stop).indices(self.n_frames)
        if start >= stop:
            message = f"there is no frame from {start} to {stop} among {self.n_frames}"
            raise TrajectoryError(message)
        return Trajectory(
            self.species,
            self._store.read(self._first + start, self._first + stop),
            self.cells[start:stop],
            self.time_step,
            self.start_time + self.time_step * start,
            self.continuous,
        )

    def _cut(self, start: int, stop: int) -> Self:
        header = self._header._replace(
            cells=self.cells[start:stop], start_time=self.start_time + self.time_step * start
        )
        return type(self)(header, self._store, self._first + start)

    def close(self) -> None:
        """Close the file; windows of it are closed, too, while `paths` made before remain."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.n_frames} frames of {self.n_atoms} atoms, {self.time_step} ps apart)"


def open_file(job: readers.Request, progress: Progress | None = None) -> TrajectoryFile:
    """Open a file: H5MD where it lies, any other as a temporary copy that is made here.

    Parameters
    ----------
    job : Request
        The file.
    progress : callable, optional
        Told the number of copied frames after every one, and None for the unknown total.

    Returns
    -------
    TrajectoryFile
        Ready to be read.

    Raises
    ------
    TrajectoryError
        When the file cannot be read, as `Trajectory.read` says, or the copy not be written.
    """
    if job.format == "h5md":
        file = readers.open_h5md(job)
        return TrajectoryFile(file.header, file)
    spool = Spool(progress)
    try:
        return TrajectoryFile(readers.gather(job, spool), spool)
    except BaseException:
        spool.close()
        raise
