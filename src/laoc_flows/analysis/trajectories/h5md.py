"""H5MD 1.1 files: the one format trajectories are kept in.

Notes
-----
de Buyl, Colberg and Hoefling, Comput. Phys. Commun. 185, 1546 (2014); https://nongnu.org/h5md/h5md.html.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import numpy.typing as npt
from ase.data import atomic_numbers, chemical_symbols

from laoc_flows.analysis.trajectories.formats import ElementNames, ElementTranslator
from laoc_flows.analysis.trajectories.frame import FloatArray, IntArray
from laoc_flows.errors import TrajectoryError

_GROUP = "particles/all"
_OWN = "parameters/laoc_flows"
_LENGTHS = {"Angstrom": 1.0, "angstrom": 1.0, "A": 1.0, "nm": 10.0, "pm": 0.01}
_TIMES = {"ps": 1.0, "fs": 1e-3, "ns": 1e3}
_CHUNK_BYTES = 2**19
_SPACING = 1e-3


class Header(NamedTuple):
    """All of a trajectory but its positions.

    Parameters
    ----------
    species : tuple of str, shape (n_atoms,)
        Element symbols.
    cells : ndarray, shape (n_frames, 3, 3)
        Rows are a, b and c [A].
    time_step : float
        Time between frames [ps].
    start_time : float
        Time of the first frame [ps].
    continuous : bool
        Whether the positions are known not to be wrapped.
    """

    species: tuple[str, ...]
    cells: FloatArray
    time_step: float
    start_time: float
    continuous: bool


def write(path: Path, header: Header, blocks: Iterable[FloatArray], dtype: str) -> Path:
    """Write an H5MD file beside its final place and move it there.

    Parameters
    ----------
    path : Path
        Where to.
    header : Header
        All but the positions.
    blocks : iterable of ndarray, shape (n, n_atoms, 3)
        Cartesian positions [A], consecutive; they are written as they come.
    dtype : str
        Floating-point type of the positions.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    TrajectoryError
        When the file cannot be written.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with h5py.File(part, "w", libver=("earliest", "v108")) as file:
            _fill(file, header, blocks, dtype)
        part.replace(path)
    except OSError as error:
        message = f"the trajectory cannot be written ({error})"
        raise TrajectoryError(message, where=str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return path


def _fill(file: Any, data: Header, blocks: Iterable[FloatArray], dtype: str) -> None:
    about = file.create_group("h5md")
    about.attrs["version"] = np.array([1, 1], dtype=np.int32)
    about.create_group("author").attrs["name"] = "laoc-flows"
    creator = about.create_group("creator")
    creator.attrs["name"] = "laoc-flows"
    creator.attrs["version"] = version("laoc-flows")
    about.create_group("modules").create_group("units").attrs["version"] = np.array([1, 0], dtype=np.int32)

    n_frames, n_atoms = len(data.cells), len(data.species)
    group = file.create_group(_GROUP)
    position = group.create_group("position")
    position.create_dataset("step", data=np.arange(n_frames, dtype=np.int64))
    times = data.start_time + data.time_step * np.arange(n_frames)
    position.create_dataset("time", data=times).attrs["unit"] = "ps"
    chunk = max(1, min(n_frames, _CHUNK_BYTES // (12 * n_atoms)))
    value = position.create_dataset(
        "value",
        shape=(n_frames, n_atoms, 3),
        dtype=dtype,
        chunks=(chunk, n_atoms, 3),
        compression="gzip",
        compression_opts=4,
        shuffle=True,
    )
    value.attrs["unit"] = "Angstrom"
    done = 0
    for block in blocks:
        value[done : done + len(block)] = block
        done += len(block)

    box = group.create_group("box")
    box.attrs["dimension"] = np.int32(3)
    box.attrs["boundary"] = np.array([b"periodic"] * 3)
    edges = box.create_group("edges")
    # Hard links: the specification lets elements that are stored together share their time axis.
    edges["step"] = position["step"]
    edges["time"] = position["time"]
    edges.create_dataset(
        "value",
        data=data.cells,
        chunks=(min(n_frames, 4096), 3, 3),
        compression="gzip",
        compression_opts=4,
        shuffle=True,
    ).attrs["unit"] = "Angstrom"

    numbers = {symbol: atomic_numbers[symbol] for symbol in sorted(set(data.species))}
    group.create_dataset(
        "species",
        data=np.array([numbers[symbol] for symbol in data.species], dtype=np.int32),
        dtype=h5py.enum_dtype(numbers, basetype=np.int32),
    )
    own = file.create_group(_OWN)
    own.create_dataset("time_step", data=np.float64(data.time_step)).attrs["unit"] = "ps"
    own.create_dataset("continuous", data=np.int8(data.continuous))


class H5MDFile:
    """The first particle group of an H5MD file, read where it lies.

    Where the time goes back, as after a restart from a checkpoint, the frames that the restart replaced are
    left out.

    Parameters
    ----------
    path : Path
        The file.
    time_step : float, optional
        Time between frames [ps], for files that do not say it.
    elements : mapping or sequence of str, optional
        Element of every value of ``species``, for files that do not name them; a sequence starts with value 1.

    Raises
    ------
    TrajectoryError
        When the file is not H5MD, lacks species, cells or units, or its frames are not equally spaced.
    """

    def __init__(
        self, path: Path, time_step: float | None = None, elements: ElementNames | None = None
    ) -> None:
        self.path = path
        self._file: Any = None
        with self._errors():
            self._file = h5py.File(path, "r")
            try:
                self._parse(time_step, ElementTranslator(elements))
            except BaseException:
                self._file.close()
                raise

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
            When the file is closed or cannot be read.
        """
        if not self._file:
            message = "the file is closed"
            raise TrajectoryError(message, where=str(self.path))
        rows = self._rows[start:stop]
        with self._errors():
            positions = self._part(self._value, rows) * self._scale
            if self._images is not None:
                positions += np.matmul(self._part(self._images, rows), self.header.cells[start:stop])
        return positions

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except TrajectoryError as error:
            raise TrajectoryError(error.message, where=str(self.path), remedy=error.remedy) from error
        except (OSError, KeyError, StopIteration, ValueError, TypeError) as error:
            message = f"not a readable H5MD file ({type(error).__name__}: {error})"
            raise TrajectoryError(message, where=str(self.path)) from error

    @staticmethod
    def _part(dataset: Any, rows: IntArray) -> FloatArray:
        first = int(rows[0])
        values = np.asarray(dataset[first : int(rows[-1]) + 1], dtype=np.float64)
        return values if len(values) == len(rows) else values[rows - first]

    def _parse(self, time_step: float | None, translator: ElementTranslator) -> None:
        groups = self._file["particles"]
        group = groups[next(iter(groups))]
        if "species" not in group:
            message = "the file does not name its elements (no 'species')"
            raise TrajectoryError(message, remedy="write it with Trajectory.write")
        if any(name in {b"none", "none"} for name in group["box"].attrs.get("boundary", ())):
            message = "the box is not periodic in all three directions"
            raise TrajectoryError(message)
        position = group["position"]
        self._value = position["value"]
        self._scale = _factor(self._value, _LENGTHS)
        n_stored = self._value.shape[0]
        self._images = group["image"]["value"] if "image" in group else None
        if self._images is not None and self._images.shape != self._value.shape:
            message = "images and positions are not stored together"
            raise TrajectoryError(message)
        times = _times(position, n_stored, time_step)
        self._rows = np.flatnonzero(_not_replaced(times))
        times = times[self._rows]
        own = self._file.get(_OWN, {})
        self.header = Header(
            species=_species(group["species"], translator),
            cells=_cells(group["box"], n_stored)[self._rows],
            time_step=_time_step(
                times, float(own["time_step"][()]) if "time_step" in own else None, time_step
            ),
            start_time=float(times[0]),
            continuous=self._images is not None or ("continuous" in own and bool(own["continuous"][()])),
        )


def _factor(dataset: Any, table: dict[str, float]) -> float:
    unit = dataset.attrs.get("unit")
    name = unit.decode() if isinstance(unit, bytes) else str(unit)
    if name not in table:
        message = f"{dataset.name} has unit {name!r}, not one of {', '.join(table)}"
        raise TrajectoryError(message, remedy="set its attribute 'unit'")
    return table[name]


def _times(position: Any, n_stored: int, time_step: float | None) -> FloatArray:
    """Return the time of every stored frame [ps], of a list or of a fixed interval."""
    told = "time" in position and ("unit" in position["time"].attrs or time_step is None)
    source = position["time"] if told else position["step"]
    values = np.asarray(source[()], dtype=np.float64)
    if values.ndim == 0:
        values = float(source.attrs.get("offset", 0.0)) + values * np.arange(n_stored)
    if values.shape != (n_stored,) or n_stored == 0:
        message = f"{n_stored} frames come with times of shape {values.shape}"
        raise TrajectoryError(message)
    if told:
        return np.asarray(values * _factor(source, _TIMES))
    if time_step is None:
        message = "the file does not say how far apart its frames are"
        raise TrajectoryError(message, remedy="give time_step in ps")
    return np.asarray(values * (time_step / np.median(np.diff(values)) if n_stored > 1 else 0.0))


def _not_replaced(times: FloatArray) -> npt.NDArray[np.bool_]:
    """Mark the frames that no later frame replaces."""
    later = np.minimum.accumulate(times[::-1])[::-1]
    return np.append(times[:-1] < later[1:], values=True)


def _species(source: Any, translator: ElementTranslator) -> tuple[str, ...]:
    dataset = source["value"] if isinstance(source, h5py.Group) else source
    values = np.asarray(dataset[()])
    if isinstance(source, h5py.Group) and values.ndim > 1:
        if (values != values[0]).any():
            message = "the species change during the run, or the order of the atoms does"
            raise TrajectoryError(message)
        values = values[0]
    names = h5py.check_enum_dtype(dataset.dtype)
    by_value = {int(value): str(name) for name, value in names.items()} if names else {}
    if values.dtype.kind not in "iu":
        return translator.species([v.decode() if isinstance(v, bytes) else str(v) for v in values])
    if not names and not translator.names:
        by_value = dict(enumerate(chemical_symbols))
    return translator.species([by_value.get(value, str(value)) for value in values.reshape(-1).tolist()])


def _cells(box: Any, n_frames: int) -> FloatArray:
    edges = box["edges"]
    dataset = edges["value"] if isinstance(edges, h5py.Group) else edges
    cells = np.asarray(dataset[()], dtype=np.float64) * _factor(dataset, _LENGTHS)
    if isinstance(edges, h5py.Dataset):
        cells = np.broadcast_to(cells, (n_frames, *cells.shape))
    return cells if cells.shape[1:] == (3, 3) else np.asarray(cells[:, :, None] * np.eye(3))


def _time_step(times: FloatArray, stated: float | None, given: float | None) -> float:
    """Return the time step: that of our own files, that of the times, or for want of both the caller's."""
    if len(times) == 1:
        step = given if stated is None else stated
        if step is None:
            message = "one frame does not tell the time step"
            raise TrajectoryError(message, remedy="give time_step in ps")
        return step
    steps = np.diff(times)
    step = float(np.median(steps)) if stated is None else stated
    off = np.abs(steps - step)
    if off.max() > _SPACING * step:
        worst = int(off.argmax())
        message = (
            f"the frames are not equally spaced: {worst} and {worst + 1} are {steps[worst]:g} ps apart, "
            f"the time step is {step:g} ps"
        )
        raise TrajectoryError(message, remedy="cut out an equally spaced part")
    return float(times[-1] - times[0]) / len(steps) if stated is None else stated
