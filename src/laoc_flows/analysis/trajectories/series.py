"""What every analysis takes: equally spaced frames of one set of atoms, wherever they are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

from laoc_flows.analysis.trajectories import h5md
from laoc_flows.analysis.trajectories.frame import FloatArray, Frame, IntArray, species_indices
from laoc_flows.analysis.trajectories.paths import CARRIER, Block, Drift, Paths, drift_weights, spool, unwrap
from laoc_flows.errors import TrajectoryError

if TYPE_CHECKING:
    from laoc_flows.analysis.trajectories.trajectory import Trajectory

CHUNK_BYTES = 64 * 2**20
"""Positions that a chunk of frames holds at most [bytes]; one frame if that is larger."""

_CELL_TOLERANCE = 1e-5
_TIME_TOLERANCE = 1e-6


class FrameSeries(ABC):
    """Equally spaced frames of one set of atoms, in memory (`Trajectory`) or in a file (`TrajectoryFile`).

    Every analysis takes either and looks at it through `chunks`, `frame` and `paths` alone.
    """

    species: tuple[str, ...]
    cells: FloatArray
    time_step: float
    start_time: float
    continuous: bool
    _paths: dict[tuple[Drift, str], Paths]

    @abstractmethod
    def block(self, start: int, stop: int) -> Trajectory:
        """Return the frames ``start <= k < stop`` in memory; they keep their absolute times."""

    @abstractmethod
    def _cut(self, start: int, stop: int) -> Self:
        """Return the same frames in the kind of object that this is."""

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return len(self.cells)

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.species)

    @property
    def times(self) -> FloatArray:
        """Time of every frame [ps], shape (n_frames,)."""
        return np.asarray(self.start_time + self.time_step * np.arange(self.n_frames), dtype=np.float64)

    @property
    def duration(self) -> float:
        """Time between the first and the last frame [ps]."""
        return (self.n_frames - 1) * self.time_step

    @property
    def volumes(self) -> FloatArray:
        """Volume of every frame [A^3], shape (n_frames,)."""
        return np.asarray(np.abs(np.linalg.det(self.cells)))

    @property
    def constant_cell(self) -> bool:
        """Whether every cell component stays within 1e-5 A over the run."""
        return bool(np.ptp(self.cells, axis=0).max() <= _CELL_TOLERANCE)

    def indices(self, symbol: str) -> IntArray:
        """Return the indices of the atoms of one element, ascending; empty when it is absent."""
        return species_indices(self.species, symbol)

    def frame(self, i: int) -> Frame:
        """Return one frame.

        Parameters
        ----------
        i : int
            Index; negative ones count from the end.

        Returns
        -------
        Frame
            Positions as stored, wrapped or not.

        Raises
        ------
        TrajectoryError
            When there is no such frame.

        Examples
        --------
        >>> import numpy as np
        >>> from laoc_flows.analysis import Trajectory
        >>> run = Trajectory(("Li", "Cl"), np.zeros((5, 2, 3)), 9.0 * np.eye(3), time_step=0.002)
        >>> run.frame(-1).species
        ('Li', 'Cl')
        """
        if not -self.n_frames <= i < self.n_frames:
            message = f"there is no frame {i} among {self.n_frames}"
            raise TrajectoryError(message)
        start = i % self.n_frames
        part = self.block(start, start + 1)
        return Frame(species=self.species, positions=part.positions[0], cell=part.cells[0])

    def window(self, t0: float, t1: float) -> Self:
        """Return the frames with ``t0 <= t < t1``.

        Parameters
        ----------
        t0, t1 : float
            Limits on the trajectory's own time axis [ps]; ``math.inf`` is allowed for `t1`.

        Returns
        -------
        Trajectory or TrajectoryFile
            What this is, with absolute times; nothing is copied or read.

        Raises
        ------
        TrajectoryError
            When no frame lies inside.

        Examples
        --------
        >>> import numpy as np
        >>> from laoc_flows.analysis import Trajectory
        >>> run = Trajectory(("Li", "Cl"), np.zeros((5, 2, 3)), 9.0 * np.eye(3), time_step=0.002)
        >>> run.window(0.002, 0.006).times.tolist()
        [0.002, 0.004]
        """
        slack = _TIME_TOLERANCE * self.time_step
        inside = np.flatnonzero((self.times >= t0 - slack) & (self.times < t1 - slack))
        if inside.size == 0:
            message = (
                f"no frame in [{t0}, {t1}) ps; the frames run from {self.times[0]} to {self.times[-1]} ps"
            )
            raise TrajectoryError(message)
        return self._cut(int(inside[0]), int(inside[-1]) + 1)

    def chunks(self, max_bytes: int = CHUNK_BYTES) -> Iterator[Trajectory]:
        """Yield the whole run as consecutive pieces that fit into memory.

        Parameters
        ----------
        max_bytes : int, default 64 MiB
            Size of the positions of a piece [bytes]; a piece holds at least one frame.

        Yields
        ------
        Trajectory
            Pieces with absolute times.

        Examples
        --------
        >>> import numpy as np
        >>> from laoc_flows.analysis import Trajectory
        >>> run = Trajectory(("Li", "Cl"), np.zeros((5, 2, 3)), 9.0 * np.eye(3), time_step=0.002)
        >>> [part.n_frames for part in run.chunks(max_bytes=100)]
        [2, 2, 1]
        """
        length = max(1, max_bytes // (24 * self.n_atoms))
        for start in range(0, self.n_frames, length):
            yield self.block(start, min(start + length, self.n_frames))

    def write(self, path: str | Path, dtype: Literal["float32", "float64"] = "float32") -> Path:
        """Write an H5MD 1.1 file.

        Parameters
        ----------
        path : path
            Where to; an existing file is replaced in one step.
        dtype : {"float32", "float64"}, default "float32"
            Precision of the stored positions. With float32 a coordinate is rounded by at most 6e-8 of itself,
            1e-6 A in a 16 A cell. Cells and times are always float64.

        Returns
        -------
        Path
            The file. The same trajectory gives the same bytes.

        Raises
        ------
        TrajectoryError
            When the file cannot be written.

        Examples
        --------
        >>> import numpy as np
        >>> from laoc_flows.analysis import Trajectory
        >>> run = Trajectory(("Li", "Cl"), np.zeros((5, 2, 3)), 9.0 * np.eye(3), time_step=0.002)
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     Trajectory.read(run.write(f"{folder}/run.h5md")).n_frames
        5
        """
        header = h5md.Header(self.species, self.cells, self.time_step, self.start_time, self.continuous)
        return h5md.write(Path(path), header, (part.positions for part in self.chunks()), dtype)

    def paths(self, drift: Drift = "framework", carrier: str = CARRIER) -> Paths:
        """Return continuous, drift-free paths of all atoms; computed once per choice and kept.

        Parameters
        ----------
        drift : {"framework", "com", "none"}, default "framework"
            What stays at rest: the unweighted mean of all atoms that are not the carrier, the center of mass of
            all atoms, or nothing.
        carrier : str, default "Li"
            The mobile element.

        Returns
        -------
        Paths
            Of a file they are spooled to a temporary file, in single precision.

        Raises
        ------
        TrajectoryError
            When an atom moves by 0.4 or more of a cell vector between frames, when `drift` is unknown, or
            when there is no framework.

        Examples
        --------
        >>> import numpy as np
        >>> from laoc_flows.analysis import Trajectory
        >>> run = Trajectory(("Li", "Cl"), np.zeros((5, 2, 3)), 9.0 * np.eye(3), time_step=0.002)
        >>> run.paths("com").of([0]).shape
        (5, 1, 3)
        """
        key = (drift, carrier if drift == "framework" else "")
        if key not in self._paths:
            self._paths[key] = self._make_paths(drift, carrier)
        return self._paths[key]

    def _unwrap(self, drift: Drift, carrier: str) -> Iterator[Block]:
        weights = drift_weights(self.species, drift, carrier)
        # Unwrapping holds eight times what it takes in.
        blocks = (Block(part.positions, part.cells) for part in self.chunks(CHUNK_BYTES // 8))
        return unwrap(blocks, self.species, weights, continuous=self.continuous)

    def _make_paths(self, drift: Drift, carrier: str) -> Paths:
        origin, values = spool(self._unwrap(drift, carrier), self.n_frames, self.n_atoms)
        return Paths(self.species, self.cells, self.time_step, drift, carrier, origin, values, spooled=True)
