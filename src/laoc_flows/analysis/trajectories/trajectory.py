"""Trajectories: atoms, cells and time, from any file, unwrapped and free of drift."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from laoc_flows.analysis.trajectories import readers
from laoc_flows.analysis.trajectories.formats import CellSource, ElementNames
from laoc_flows.analysis.trajectories.frame import (
    MIN_VOLUME,
    FloatArray,
    Frame,
    StructureLike,
    as_frame,
    check_species,
    read_only,
)
from laoc_flows.analysis.trajectories.paths import CARRIER, Drift, Paths
from laoc_flows.analysis.trajectories.readers import FileFormat
from laoc_flows.analysis.trajectories.series import CHUNK_BYTES, FrameSeries
from laoc_flows.errors import InputError, TrajectoryError

if TYPE_CHECKING:
    from ase import Atoms
    from pymatgen.core import Structure
    from pymatgen.core.trajectory import Trajectory as PymatgenTrajectory

    from laoc_flows.analysis.trajectories.stream import Progress, TrajectoryFile

__all__ = ["CHUNK_BYTES", "FrameSeries", "Trajectory"]


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

    Examples
    --------
    >>> import numpy as np
    >>> wrapped = np.array([[[8.8, 0.0, 0.0]], [[0.1, 0.0, 0.0]]])
    >>> run = Trajectory(("Li",), wrapped, 9.0 * np.eye(3), time_step=0.002)
    >>> run.unwrapped("none")[:, 0, 0].round(6).tolist()
    [8.8, 9.1]
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
        return self._cut(start, stop)

    def _cut(self, start: int, stop: int) -> Self:
        return type(self)(
            self.species,
            self.positions[start:stop],
            self.cells[start:stop],
            self.time_step,
            self.start_time + self.time_step * start,
            self.continuous,
        )

    def without_repeats(self) -> Self:
        """Drop every frame that equals the one before it, as restarts write them.

        Returns
        -------
        Trajectory
            Positions and cells of consecutive frames differ.

        Examples
        --------
        >>> import numpy as np
        >>> run = Trajectory(("Li",), [[[0.0, 0, 0]], [[1.0, 0, 0]], [[1.0, 0, 0]]], 9.0 * np.eye(3), time_step=0.1)
        >>> run.without_repeats().n_frames
        2
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

        Examples
        --------
        >>> import numpy as np
        >>> run = Trajectory(("Li",), [[[8.0, 0, 0]], [[0.5, 0, 0]]], 9.0 * np.eye(3), time_step=0.1)
        >>> run.unwrapped("none")[:, 0, 0].round(6).tolist()
        [8.0, 9.5]
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

        Examples
        --------
        >>> from ase.build import bulk
        >>> Trajectory.from_ase([bulk("LiCl", "rocksalt", a=5.13)] * 3, time_step=0.002).species
        ('Li', 'Cl')
        """
        return cls._from_frames(frames, time_step, start_time)

    @classmethod
    def from_pymatgen(
        cls,
        structures: Iterable[Structure] | PymatgenTrajectory,
        time_step: float | None = None,
        start_time: float = 0.0,
    ) -> Self:
        """Build a trajectory from pymatgen structures.

        Parameters
        ----------
        structures : iterable of pymatgen.core.Structure, or pymatgen.core.trajectory.Trajectory
            Ordered structures with the same atoms in the same order.
        time_step : float, optional
            Time between them [ps]. A pymatgen trajectory may hold it, in fs.
        start_time : float, default 0
            Time of the first [ps].

        Returns
        -------
        Trajectory
            One frame per structure.

        Raises
        ------
        TrajectoryError
            When there is no structure, when the atoms change, or when the time step is missing or contradicts
            the pymatgen trajectory.
        InputError
            When a structure has partly occupied sites, or is a molecule.

        Examples
        --------
        >>> from pymatgen.core import Lattice, Structure
        >>> salt = Structure.from_spacegroup(225, Lattice.cubic(5.13), ["Li", "Cl"], [[0, 0, 0], [0.5] * 3])
        >>> Trajectory.from_pymatgen([salt] * 3, time_step=0.002).n_atoms
        8
        """
        stated: Any = getattr(structures, "time_step", None)
        told = None if stated is None else float(stated) * 1e-3
        if told and time_step and not math.isclose(told, time_step, rel_tol=1e-6):
            message = f"time_step = {time_step} ps, but the pymatgen trajectory says {told} ps"
            raise TrajectoryError(message)
        chosen = time_step or told
        if chosen is None:
            message = "the structures do not say how far apart they are"
            raise TrajectoryError(message, remedy="give time_step in ps")
        return cls._from_frames(structures, chosen, start_time)

    @classmethod
    def _from_frames(cls, frames: Iterable[StructureLike], time_step: float, start_time: float) -> Self:
        parts: list[Frame] = [as_frame(structure) for structure in frames]
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
    def read(
        cls,
        path: str | Path,
        time_step: float | None = None,
        *,
        format: FileFormat | None = None,  # noqa: A002 (the name that ASE and pandas have made usual)
        md_step: float | None = None,
        elements: ElementNames | None = None,
        cell: CellSource | None = None,
    ) -> Self:
        r"""Read a trajectory file into memory.

        Parameters
        ----------
        path : path
            H5MD of any program, XYZ (extended, of CP2K, or plain), XDATCAR, vasprun.xml, a text dump of LAMMPS,
            or whatever ASE reads as a series of frames, such as its ``.traj``. All but H5MD may be compressed
            (``.gz``, ``.bz2``, ``.xz``).
        time_step : float, optional
            Time between frames [ps]. Needed where the file does not tell it: H5MD, CP2K's XYZ, vasprun.xml and
            dumps with ``ITEM: TIME`` do.
        format : {"h5md", "xyz", "xdatcar", "vasprun", "lammps", "ase"}, optional
            By default told from name and content.
        md_step : float, optional
            Time that one MD step takes [ps], in place of `time_step`, for the step numbers of a LAMMPS dump.
        elements : mapping or sequence of str, optional
            Element of every type, as ``("Li", "Al", "O", "Cl")`` for the LAMMPS types 1 to 4, or of every label
            that is none, as ``{"Al_a": "Al"}``.
        cell : path or array_like, shape (3, 3), optional
            CP2K's ``.cell`` file, or the cell [A]; for XYZ files without.

        Returns
        -------
        Trajectory
            Without the frames that a restart wrote twice. Positions with image flags, of ``xu`` columns and of
            CP2K are `continuous`.

        Raises
        ------
        TrajectoryError
            When the file is missing, unreadable or incomplete, its frames are not equally spaced in time, or the
            time step is missing or contradicts the file.
        InputError
            When a frame is not periodic.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> text = "1\ni = {}, time = {}.0, E = -1.0\nLi {}.5 0.0 0.0\n"
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = Path(folder) / "glass-pos-1.xyz"
        ...     _ = path.write_text("".join(text.format(k, 2 * k, k) for k in range(3)))
        ...     run = Trajectory.read(path, cell=[[9.0, 0, 0], [0, 9.0, 0], [0, 0, 9.0]])
        >>> (run.n_frames, run.time_step, run.continuous)
        (3, 0.002, True)
        """
        job = readers.request(
            path, time_step, file_format=format, md_step=md_step, elements=elements, cell=cell
        )
        if job.format == "h5md":
            file = readers.open_h5md(job)
            try:
                header, positions = file.header, file.read(0, len(file.header.cells))
            finally:
                file.close()
        else:
            sink = readers.MemorySink()
            header, positions = readers.gather(job, sink), sink.positions
        return cls(
            header.species,
            positions,
            header.cells,
            header.time_step,
            header.start_time,
            header.continuous,
        )

    @staticmethod
    def open(
        path: str | Path,
        time_step: float | None = None,
        *,
        format: FileFormat | None = None,  # noqa: A002 (as in `read`)
        md_step: float | None = None,
        elements: ElementNames | None = None,
        cell: CellSource | None = None,
        progress: Progress | None = None,
    ) -> TrajectoryFile:
        """Open a trajectory file of any size without loading it.

        H5MD is read where it lies. Any other file is copied once, frame by frame, to a temporary file of
        24 bytes per atom and frame that disappears with the object, also after a crash.

        Parameters
        ----------
        path, time_step, format, md_step, elements, cell
            As in `read`.
        progress : callable, optional
            Called as ``progress(done, total)`` after every copied frame; `total` is None where it is unknown.

        Returns
        -------
        TrajectoryFile
            For every analysis in place of a `Trajectory`; in memory are the cells and 64 MiB of positions.

        Raises
        ------
        TrajectoryError
            As in `read`, and when the temporary file cannot be written.
        InputError
            When a frame is not periodic.

        Examples
        --------
        >>> import tempfile
        >>> import numpy as np
        >>> run = Trajectory(("Li", "Cl"), np.zeros((5, 2, 3)), 9.0 * np.eye(3), time_step=0.002)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     with Trajectory.open(run.write(f"{folder}/run.h5md")) as file:
        ...         file.window(0.004, 0.008).n_frames
        2
        """
        from laoc_flows.analysis.trajectories.stream import open_file

        job = readers.request(
            path, time_step, file_format=format, md_step=md_step, elements=elements, cell=cell
        )
        return open_file(job, progress)
