"""Trajectories: atoms, cells and time, from any file, unwrapped and free of drift."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, TypeAlias, get_args

import numpy as np
from ase.data import atomic_masses, atomic_numbers

from laoc_flows.analysis import h5md
from laoc_flows.analysis.frame import MIN_VOLUME, FloatArray, Frame, as_frame, check_species, read_only
from laoc_flows.errors import InputError, TrajectoryError

if TYPE_CHECKING:
    from ase import Atoms

Drift: TypeAlias = Literal["framework", "com", "none"]

MOBILE = "Li"
"""The element that does not belong to the framework."""
MAX_STEP = 0.4
"""Largest fractional displacement between stored frames that can still be unwrapped without guessing."""
H5MD_SUFFIXES = (".h5md", ".h5", ".hdf5")

_CELL_TOLERANCE = 1e-5
_TIME_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class Trajectory:
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

    @property
    def n_frames(self) -> int:
        """Number of frames."""
        return int(self.positions.shape[0])

    @property
    def n_atoms(self) -> int:
        """Number of atoms."""
        return len(self.species)

    @property
    def times(self) -> FloatArray:
        """Time of every frame [ps], shape (n_frames,)."""
        return np.asarray(self.start_time + self.time_step * np.arange(self.n_frames), dtype=np.float64)

    @property
    def constant_cell(self) -> bool:
        """Whether every cell component stays within 1e-5 A over the run."""
        return bool(np.ptp(self.cells, axis=0).max() <= _CELL_TOLERANCE)

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
        return Frame(species=self.species, positions=self.positions[i], cell=self.cells[i])

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
        part = slice(int(inside[0]), int(inside[-1]) + 1)
        return Trajectory(
            species=self.species,
            positions=self.positions[part],
            cells=self.cells[part],
            time_step=self.time_step,
            start_time=float(self.times[part.start]),
        )

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
            self.species, self.positions[keep], self.cells[keep], self.time_step, self.start_time
        )

    def unwrapped_fractional(self, drift: Drift = "framework") -> FloatArray:
        """Return continuous fractional positions, from minimum-image fractional steps.

        Parameters
        ----------
        drift : {"framework", "com", "none"}, default "framework"
            What stays at rest: the unweighted mean of all atoms that are not Li, the center of mass of all
            atoms, or nothing.

        Returns
        -------
        ndarray, shape (n_frames, n_atoms, 3)
            Fractional positions; the first frame is as stored.

        Raises
        ------
        TrajectoryError
            When an atom moves by 0.4 or more of a cell vector between frames, when `drift` is unknown, or
            when there is no framework.
        """
        fractional = np.matmul(self.positions, np.linalg.inv(self.cells))
        steps = np.diff(fractional, axis=0)
        jumps = np.rint(steps)
        steps -= jumps
        if steps.size and np.abs(steps).max() >= MAX_STEP:
            frame, atom, axis = (int(k) for k in np.unravel_index(np.abs(steps).argmax(), steps.shape))
            message = (
                f"{self.species[atom]} atom {atom} moves by {abs(steps[frame, atom, axis]):.2f} of cell vector "
                f"{'abc'[axis]} between frames {frame} and {frame + 1}; below {MAX_STEP} is needed to unwrap"
            )
            raise TrajectoryError(message, remedy="store frames more often")
        # Whole cells are subtracted, so that rounding errors do not accumulate along the run.
        fractional[1:] -= np.cumsum(jumps, axis=0)
        weights = self._drift_weights(drift)
        if weights is not None:
            shift = np.einsum("tac,a->tc", fractional - fractional[0], weights)
            fractional -= shift[:, None, :]
        return fractional

    def unwrapped(self, drift: Drift = "framework") -> FloatArray:
        """Return continuous Cartesian positions.

        Parameters
        ----------
        drift : {"framework", "com", "none"}, default "framework"
            See `unwrapped_fractional`.

        Returns
        -------
        ndarray, shape (n_frames, n_atoms, 3)
            Positions [A]; in a varying cell they follow the cell, so displacements hold its affine motion.

        Raises
        ------
        TrajectoryError
            As `unwrapped_fractional`.
        """
        return np.matmul(self.unwrapped_fractional(drift), self.cells)

    def _drift_weights(self, drift: Drift) -> FloatArray | None:
        if drift == "none":
            return None
        if drift == "com":
            weights = np.array([atomic_masses[atomic_numbers[s]] for s in self.species])
        elif drift == "framework":
            weights = np.array([float(s != MOBILE) for s in self.species])
        else:
            message = f"drift = {drift!r} is not one of {', '.join(get_args(Drift))}"
            raise TrajectoryError(message)
        total = weights.sum()
        if total <= 0:
            message = f"there is no framework: all {self.n_atoms} atoms are {MOBILE}"
            raise TrajectoryError(message, remedy="use drift='com' or 'none'")
        return np.asarray(weights / total)

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
