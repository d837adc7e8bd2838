"""Which parser reads a file, and the time axis that its frames make up."""

from __future__ import annotations

import lzma
import math
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol, TypeAlias, get_args

import numpy as np

from laoc_flows.analysis.trajectories import format_lammps, format_vasp, format_xyz
from laoc_flows.analysis.trajectories.formats import (
    COMPRESSED,
    CellSource,
    ElementNames,
    Snapshot,
    ase_frames,
    open_file,
)
from laoc_flows.analysis.trajectories.frame import FloatArray
from laoc_flows.analysis.trajectories.h5md import H5MDFile, Header
from laoc_flows.errors import TrajectoryError

FileFormat: TypeAlias = Literal["h5md", "xyz", "xdatcar", "vasprun", "lammps", "ase"]

_H5MD_SUFFIXES = {".h5md", ".h5", ".hdf5"}
_XYZ_SUFFIXES = {".xyz", ".extxyz", ".exyz"}
# Which of the optional parameters tells a format something.
_USES = {
    "h5md": {"elements"},
    "xyz": {"elements", "cell"},
    "xdatcar": {"elements"},
    "vasprun": set(),
    "lammps": {"elements", "md_step"},
    "ase": set(),
}
# Times are printed with three digits in CP2K; what is asked for agrees within the second.
_SPACING = 1e-2
_AGREEMENT = 1e-3


class Request(NamedTuple):
    """A file, and what the caller says about it.

    Parameters
    ----------
    path : Path
        The file.
    format : str
        Its format.
    time_step : float or None
        Time between frames [ps].
    md_step : float or None
        Time that one MD step takes [ps].
    elements : mapping or sequence of str, optional
        Element of every label or type.
    cell : path or array_like, shape (3, 3), optional
        The cell [A], for files without.
    """

    path: Path
    format: FileFormat
    time_step: float | None = None
    md_step: float | None = None
    elements: ElementNames | None = None
    cell: CellSource | None = None


class Sink(Protocol):
    """Where positions go, frame by frame."""

    def append(self, positions: FloatArray) -> None:
        """Add a frame."""

    def truncate(self, n_frames: int) -> None:
        """Keep the first frames only."""


class MemorySink:
    """Positions in memory.

    Examples
    --------
    >>> import numpy as np
    >>> sink = MemorySink()
    >>> for x in range(3):
    ...     sink.append(np.full((1, 3), x))
    >>> sink.truncate(2)
    >>> sink.positions[:, 0, 0].tolist()
    [0, 1]
    """

    def __init__(self) -> None:
        self._frames: list[FloatArray] = []

    def append(self, positions: FloatArray) -> None:
        """Add a frame."""
        self._frames.append(positions)

    def truncate(self, n_frames: int) -> None:
        """Keep the first frames only."""
        del self._frames[n_frames:]

    @property
    def positions(self) -> FloatArray:
        """All frames, shape (n_frames, n_atoms, 3)."""
        return np.array(self._frames)


def request(
    path: str | Path,
    time_step: float | None = None,
    *,
    file_format: FileFormat | None = None,
    md_step: float | None = None,
    elements: ElementNames | None = None,
    cell: CellSource | None = None,
) -> Request:
    """Check what the caller says about a file.

    Parameters
    ----------
    path : path
        The file.
    time_step : float, optional
        Time between frames [ps].
    file_format : str, optional
        Its format; by default told from name and content.
    md_step : float, optional
        Time that one MD step takes [ps].
    elements : mapping or sequence of str, optional
        Element of every label or type.
    cell : path or array_like, shape (3, 3), optional
        The cell [A], for files without.

    Returns
    -------
    Request
        With a format.

    Raises
    ------
    TrajectoryError
        When there is no such file, its format is unknown, or a parameter is no time or tells its format
        nothing.
    """
    path = Path(path)
    if not path.is_file():
        message = "there is no such file"
        raise TrajectoryError(message, where=str(path))
    if file_format is not None and file_format not in get_args(FileFormat):
        message = f"format = {file_format!r} is not one of {', '.join(get_args(FileFormat))}"
        raise TrajectoryError(message, where=str(path))
    kind = file_format or detect(path)
    for name, value in {"time_step": time_step, "md_step": md_step}.items():
        if value is not None and not (math.isfinite(value) and value > 0):
            message = f"{name} = {value} ps is no time"
            raise TrajectoryError(message, where=str(path))
    given: dict[str, Any] = {"md_step": md_step, "elements": elements, "cell": cell}
    useless = sorted({name for name, value in given.items() if value is not None} - _USES[kind])
    if useless:
        message = f"{' and '.join(useless)} cannot be used with {kind} files"
        raise TrajectoryError(message, where=str(path), remedy="leave it out, or give another format")
    return Request(path, kind, time_step, md_step, elements, cell)


def detect(path: Path) -> FileFormat:
    """Tell the format of a file from its name and its first lines.

    Parameters
    ----------
    path : Path
        The file; may be compressed.

    Returns
    -------
    str
        ``"ase"`` when it is none of the others.

    Raises
    ------
    TrajectoryError
        When the file cannot be opened or decompressed.
    """
    name = path.name.lower()
    for suffix in COMPRESSED:
        name = name.removesuffix(suffix)
    try:
        with open_file(path, "rb") as file:
            head: bytes = file.read(4096)
    except (OSError, EOFError, lzma.LZMAError) as error:
        message = f"the file cannot be opened ({error})"
        raise TrajectoryError(message, where=str(path)) from error
    text = head.decode("utf-8", "replace")
    lines = text.splitlines() or [""]
    kind: FileFormat = "ase"
    if head.startswith(b"\x89HDF") or Path(name).suffix in _H5MD_SUFFIXES:
        kind = "h5md"
    elif text.startswith("ITEM:"):
        kind = "lammps"
    elif "<modeling" in text or "vasprun" in name:
        kind = "vasprun"
    elif "xdatcar" in name or any("direct configuration" in line.lower() for line in lines[7:9]):
        kind = "xdatcar"
    elif Path(name).suffix in _XYZ_SUFFIXES or lines[0].strip().isdigit():
        kind = "xyz"
    return kind


def open_h5md(job: Request) -> H5MDFile:
    """Open an H5MD file.

    Parameters
    ----------
    job : Request
        The file.

    Returns
    -------
    H5MDFile
        To be closed by the caller.

    Raises
    ------
    TrajectoryError
        When the file is unreadable or contradicts the time step.
    """
    file = H5MDFile(job.path, job.time_step, job.elements)
    told = file.header.time_step
    if job.time_step is not None and not math.isclose(job.time_step, told, rel_tol=_AGREEMENT):
        file.close()
        message = f"time_step = {job.time_step} ps, but the file says {told} ps"
        raise TrajectoryError(message, where=str(job.path))
    return file


def gather(job: Request, sink: Sink) -> Header:
    """Read a file that is not H5MD, and send its positions somewhere.

    Where the step or the time goes back, as after a restart from a checkpoint, the frames that the restart
    replaced are dropped; where a file tells neither, a frame that equals the one before it is.

    Parameters
    ----------
    job : Request
        The file.
    sink : Sink
        Receives the positions of every frame, shape (n_atoms, 3) [A].

    Returns
    -------
    Header
        The rest.

    Raises
    ------
    TrajectoryError
        When the file is unreadable or incomplete, its atoms change, its frames are not equally spaced, or the
        time step is missing or contradicts the file.
    """
    try:
        return _gather(job, sink)
    except TrajectoryError as error:
        where = error.where or str(job.path)
        raise TrajectoryError(error.message, where=where, remedy=error.remedy) from error


def _gather(job: Request, sink: Sink) -> Header:
    first: Snapshot | None = None
    last: FloatArray | None = None
    cells: list[FloatArray] = []
    axis = _Axis()
    for shot in _snapshots(job):
        first = first or shot
        if shot.species != first.species:
            message = f"frame {len(cells)} holds other atoms than frame 0, or the same in another order"
            raise TrajectoryError(message)
        if shot.continuous != first.continuous:
            message = f"frame {len(cells)} and frame 0 are not wrapped alike"
            raise TrajectoryError(message)
        untold = shot.step is None and shot.time is None
        repeated = last is not None and np.array_equal(last, shot.positions)
        if untold and repeated and np.array_equal(cells[-1], shot.cell):
            continue
        keep = axis.add(shot)
        if keep < len(cells):
            sink.truncate(keep)
            del cells[keep:]
        sink.append(shot.positions)
        cells.append(shot.cell)
        last = shot.positions
    if first is None:
        message = "there are no frames"
        raise TrajectoryError(message)
    time_step, start_time = axis.resolve(job)
    return Header(first.species, np.array(cells), time_step, start_time, first.continuous)


def _snapshots(job: Request) -> Iterator[Snapshot]:
    try:
        match job.format:
            case "xyz":
                yield from format_xyz.xyz(job.path, job.elements, job.cell)
            case "xdatcar":
                yield from format_vasp.xdatcar(job.path, job.elements)
            case "vasprun":
                yield from format_vasp.vasprun(job.path)
            case "lammps":
                yield from format_lammps.lammps(job.path, job.elements)
            case _:
                yield from ase_frames(job.path)
    except (OSError, EOFError, lzma.LZMAError, ValueError, LookupError, np.linalg.LinAlgError) as error:
        message = f"not a readable {job.format} file ({type(error).__name__}: {error})"
        raise TrajectoryError(message) from error


class _Axis:
    """Steps and times of the frames so far, without those that were replaced."""

    def __init__(self) -> None:
        self.steps: list[int] = []
        self.times: list[float] = []
        self.n_frames = 0

    def add(self, shot: Snapshot) -> int:
        """Take up a frame, and return how many of those before it remain."""
        key: Any = shot.time if shot.step is None else shot.step
        keys: list[Any] = self.times if shot.step is None else self.steps
        keep = self.n_frames
        if self.n_frames and key is not None and len(keys) == self.n_frames and key <= keys[-1]:
            keep = bisect_left(keys, key)
            if keep == 0 and self.n_frames > 1:
                message = f"after {self.n_frames} frames the file goes back to its beginning"
                raise TrajectoryError(message, remedy="split it: it holds more than one run")
        del self.steps[keep:], self.times[keep:]
        if shot.step is not None:
            self.steps.append(shot.step)
        if shot.time is not None:
            self.times.append(shot.time)
        self.n_frames = keep + 1
        return keep

    def resolve(self, job: Request) -> tuple[float, float]:
        """Return the time step and the time of the first frame [ps]."""
        stride, told = self._stride(), self._told()
        if job.md_step is not None and stride:
            told = stride * job.md_step
        if told is None and job.time_step is None:
            message = "the file does not say how far apart its frames are"
            remedy = "give time_step in ps" + (", or md_step" if "md_step" in _USES[job.format] else "")
            raise TrajectoryError(message, remedy=remedy)
        if told and job.time_step and not math.isclose(told, job.time_step, rel_tol=_AGREEMENT):
            message = f"time_step = {job.time_step} ps, but the file says {told:.6g} ps"
            raise TrajectoryError(message)
        time_step = job.time_step or told or 0.0
        if len(self.times) == self.n_frames:
            return time_step, self.times[0]
        return time_step, self.steps[0] * time_step / stride if stride else 0.0

    def _stride(self) -> int | None:
        """Return the number of MD steps between frames, or None when it is unknown."""
        if len(self.steps) < max(2, self.n_frames):
            return None
        gaps = np.diff(self.steps)
        if (odd := np.flatnonzero(gaps != gaps[0])).size:
            k = int(odd[0])
            message = (
                f"the frames are not equally spaced: {k} and {k + 1} are {gaps[k]} steps apart, the first two "
                f"{gaps[0]} (steps {self.steps[k]} and {self.steps[k + 1]})"
            )
            raise TrajectoryError(message, remedy="cut out an equally spaced part")
        return int(gaps[0])

    def _told(self) -> float | None:
        """Return the time between frames [ps] as the file tells it."""
        if len(self.times) < max(2, self.n_frames):
            return None
        gaps = np.diff(self.times)
        usual = float(np.median(gaps))
        if (odd := np.flatnonzero(np.abs(gaps - usual) > _SPACING * abs(usual))).size or usual <= 0:
            k = int(odd[0]) if odd.size else 0
            message = f"the frames are not equally spaced: {k} and {k + 1} are {gaps[k]:.6g} ps apart, most {usual:.6g}"
            raise TrajectoryError(message, remedy="cut out an equally spaced part")
        return (self.times[-1] - self.times[0]) / len(gaps)
