"""Trajectories: atoms, cells and time, from any file, unwrapped and free of drift."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np

from laoc_flows.analysis import h5md
from laoc_flows.analysis.frame import (
    MIN_VOLUME,
    FloatArray,
    Frame,
    IntArray,
    as_frame,
    check_species,
    read_only,
    species_indices,
)
from laoc_flows.analysis.paths import CARRIER, Block, Drift, Paths, drift_weights, spool, unwrap
from laoc_flows.errors import InputError, TrajectoryError

if TYPE_CHECKING:
    from ase import Atoms

CHUNK_BYTES = 64 * 2**20
"""Positions that a chunk of frames holds at most [bytes]; one frame if that is larger."""
H5MD_SUFFIXES = (".h5md", ".h5", ".hdf5")

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
        """
        if not -self.n_frames <= i < self.n_frames:
            message = f"there is no frame {i} among {self.n_frames}"
            raise TrajectoryError(message)
        start = i % self.n_frames
        part = self.block(start, start + 1)
        return Frame(species=self.species, positions=part.positions[0], cell=part.cells[0])

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
        """
        length = max(1, max_bytes // (24 * self.n_atoms))
        for start in range(0, self.n_frames, length):
            yield self.block(start, min(start + length, self.n_frames))

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
        """
        key = (drift, carrier if drift == "framework" else "")
        if key not in self._paths:
            self._paths[key] = self._make_paths(drift, carrier)
        return self._paths[key]

    def _unwrap(self, drift: Drift, carrier: str) -> Iterator[Block]:
        weights = drift_weights(self.species, drift, carrier)
        blocks = (Block(part.positions, part.cells) for part in self.chunks())
        return unwrap(blocks, self.species, weights, continuous=self.continuous)

    def _make_paths(self, drift: Drift, carrier: str) -> Paths:
        origin, values = spool(self._unwrap(drift, carrier), self.n_frames, self.n_atoms)
        return Paths(self.species, self.cells, self.time_step, drift, carrier, origin, values, spooled=True)


@dataclass(frozen=True, eq=False)
class Trajectory(FrameSeries):
    """Equally spaced frames of one set of atoms.

    Parameters
    ----------
    species : sequence of str, shape (n_atoms,)
        Element symbols.
    positions : array_like, shape (n_frames, n_atoms, 3)
        Cartesian positions, wrapped or not [A].
    cells : array_like, shape (n_frames, 3, 3) or (3, 3)
        Rows are a, b and c [A].
    time_step : float
        Time between stored frames [ps].
    start_time : float, default 0
        Time of the first frame [ps].
    continuous : bool, default False
        Whether the positions are known to be continuous, as with image flags; then nothing is unwrapped.

    Raises
    ------
    TrajectoryError
        When shapes disagree, a number is not finite, or there is no frame, no atom or no volume.
    """

    species: tuple[str, ...]
    positions: FloatArray
    cells: FloatArray
    time_step: float
    start_time: float = 0.0
    continuous: bool = False
    _paths: dict[tuple[Drift, str], Paths] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "species", check_species(self.species))
        except InputError as error:
            raise TrajectoryError(error.message) from error
        positions = read_only(self.positions)
        n_atoms = len(self.species)
        if positions.ndim != 3 or positions.shape[1:] != (n_atoms, 3) or 0 in positions.shape:  # noqa: PLR2004
            message = f"positions have shape {positions.shape}, not (frames > 0, {n_atoms} atoms > 0, 3)"
            raise TrajectoryError(message)
        cells = read_only(self.cells)
        shape = (len(positions), 3, 3)
        if cells.shape not in {(3, 3), shape}:
            message = f"cells have shape {cells.shape}, neither (3, 3) nor {shape}"
            raise TrajectoryError(message)
        cells = np.broadcast_to(cells, shape)
        if not (np.isfinite(positions).all() and np.isfinite(cells).all()):
            message = "a position or a cell vector is not a finite number"
            raise TrajectoryError(message)
        if np.abs(np.linalg.det(cells)).min() < MIN_VOLUME:
            message = "a cell has no volume"
            raise TrajectoryError(message, remedy="store a periodic cell with every frame")
        if not (math.isfinite(self.time_step) and self.time_step > 0 and math.isfinite(self.start_time)):
            message = (
                f"time_step = {self.time_step} ps and start_time = {self.start_time} ps are no time axis"
            )
            raise TrajectoryError(message)
        object.__setattr__(self, "positions", positions)
        object.__setattr__(self, "cells", cells)
        object.__setattr__(self, "time_step", float(self.time_step))
        object.__setattr__(self, "start_time", float(self.start_time))

    def block(self, start: int, stop: int) -> Trajectory:
        """Return the frames ``start <= k < stop``; they keep their absolute times."""
        return Trajectory(
            self.species,
            self.positions[start:stop],
            self.cells[start:stop],
            self.time_step,
            self.start_time + self.time_step * start,
            self.continuous,
        )

    def window(self, t0: float, t1: float) -> Trajectory:
        """Return the frames with ``t0 <= t < t1``.

        Parameters
        ----------
        t0, t1 : float
            Limits on the trajectory's own time axis [ps]; ``math.inf`` is allowed for `t1`.

        Returns
        -------
        Trajectory
            Keeps its absolute times.

        Raises
        ------
        TrajectoryError
            When no frame lies inside.
        """
        slack = _TIME_TOLERANCE * self.time_step
        inside = np.flatnonzero((self.times >= t0 - slack) & (self.times < t1 - slack))
        if inside.size == 0:
            message = (
                f"no frame in [{t0}, {t1}) ps; the frames run from {self.times[0]} to {self.times[-1]} ps"
            )
            raise TrajectoryError(message)
        return self.block(int(inside[0]), int(inside[-1]) + 1)

    def without_repeats(self) -> Self:
        """Drop every frame that equals the one before it, as restarts write them.

        Returns
        -------
        Trajectory
            Positions and cells of consecutive frames differ.
        """
        same = np.all(self.positions[1:] == self.positions[:-1], axis=(1, 2))
        same &= np.all(self.cells[1:] == self.cells[:-1], axis=(1, 2))
        keep = np.concatenate([[True], ~same])
        return type(self)(
            self.species,
            self.positions[keep],
            self.cells[keep],
            self.time_step,
            self.start_time,
            self.continuous,
        )

    def unwrapped(self, drift: Drift = "framework", carrier: str = CARRIER) -> FloatArray:
        """Return continuous Cartesian positions.

        Parameters
        ----------
        drift : {"framework", "com", "none"}, default "framework"
            What stays at rest: the unweighted mean of all atoms that are not the carrier, the center of mass of
            all atoms, or nothing.
        carrier : str, default "Li"
            The mobile element.

        Returns
        -------
        ndarray, shape (n_frames, n_atoms, 3)
            Positions [A]; in a varying cell they follow the cell, so displacements hold its affine motion.

        Raises
        ------
        TrajectoryError
            When an atom moves by 0.4 or more of a cell vector between frames, when `drift` is unknown, or
            when there is no framework.
        """
        return self.paths(drift, carrier).of()

    def _make_paths(self, drift: Drift, carrier: str) -> Paths:
        values = np.empty(self.positions.shape)
        done = 0
        for block in self._unwrap(drift, carrier):
            np.matmul(block.positions, block.cells, out=values[done : done + len(block.cells)])
            done += len(block.cells)
        values.flags.writeable = False
        return Paths(self.species, self.cells, self.time_step, drift, carrier, values[0], values)

    @classmethod
    def from_ase(cls, frames: Iterable[Atoms], time_step: float, start_time: float = 0.0) -> Self:
        """Build a trajectory from ASE structures.

        Parameters
        ----------
        frames : iterable of ase.Atoms
            Periodic structures with the same atoms in the same order.
        time_step : float
            Time between them [ps].
        start_time : float, default 0
            Time of the first [ps].

        Returns
        -------
        Trajectory
            One frame per structure.

        Raises
        ------
        TrajectoryError
            When there is no structure, or when the atoms change.
        InputError
            When a structure is not periodic.
        """
        parts = [as_frame(atoms) for atoms in frames]
        if not parts:
            message = "there are no frames"
            raise TrajectoryError(message)
        species = parts[0].species
        for k, part in enumerate(parts):
            if part.species != species:
                message = f"frame {k} holds other atoms than frame 0, or the same in another order"
                raise TrajectoryError(message)
        positions = np.array([part.positions for part in parts])
        return cls(species, positions, np.array([part.cell for part in parts]), time_step, start_time)

    @classmethod
    def read(cls, path: str | Path, time_step: float | None = None) -> Self:
        """Read a trajectory file.

        Parameters
        ----------
        path : path
            H5MD (``.h5md``, ``.h5``, ``.hdf5``), or anything that ASE reads as a series of frames.
        time_step : float, optional
            Time between frames [ps]. Needed for all but H5MD files, which hold it.

        Returns
        -------
        Trajectory
            Without the frames that a restart wrote twice.

        Raises
        ------
        TrajectoryError
            When the file is missing or unreadable, its frames are not equally spaced in time, or the time step
            is missing or contradicts the file.
        InputError
            When a frame is not periodic.
        """
        path = Path(path)
        if not path.is_file():
            message = "there is no such file"
            raise TrajectoryError(message, where=str(path))
        if path.suffix.lower() in H5MD_SUFFIXES:
            data = h5md.read(path)
            if time_step is not None and not math.isclose(time_step, data.time_step, rel_tol=1e-4):
                message = f"time_step = {time_step} ps, but the file says {data.time_step} ps"
                raise TrajectoryError(message, where=str(path))
            return cls(data.species, data.positions, data.cells, data.time_step, data.start_time)
        if time_step is None:
            message = "the file does not say how far apart its frames are"
            raise TrajectoryError(message, where=str(path), remedy="give time_step in ps")
        from ase.io import read

        try:
            frames = read(path, index=":")
        except Exception as error:  # ASE's readers raise anything
            message = f"ASE cannot read it ({type(error).__name__}: {error})"
            raise TrajectoryError(message, where=str(path)) from error
        return cls.from_ase(frames, time_step).without_repeats()

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
        """
        data = h5md.Contents(self.species, self.positions, self.cells, self.time_step, self.start_time)
        return h5md.write(Path(path), data, dtype)
