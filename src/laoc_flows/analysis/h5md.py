"""H5MD 1.1 files: the one format trajectories are kept in.

Notes
-----
de Buyl, Colberg and Hoefling, Comput. Phys. Commun. 185, 1546 (2014); https://nongnu.org/h5md/h5md.html.
"""

from __future__ import annotations

import contextlib
import os
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
from ase.data import atomic_numbers, chemical_symbols

from laoc_flows.analysis.frame import FloatArray
from laoc_flows.errors import TrajectoryError

_GROUP = "particles/all"
_OWN = "parameters/laoc_flows"
_LENGTHS = {"Angstrom": 1.0, "angstrom": 1.0, "A": 1.0, "nm": 10.0, "pm": 0.01}
_TIMES = {"ps": 1.0, "fs": 1e-3, "ns": 1e3}
_CHUNK_BYTES = 2**19


class Contents(NamedTuple):
    """What an H5MD file says about a trajectory.

    Parameters
    ----------
    species : tuple of str, shape (n_atoms,)
        Element symbols.
    positions : ndarray, shape (n_frames, n_atoms, 3)
        Cartesian positions [A].
    cells : ndarray, shape (n_frames, 3, 3)
        Rows are a, b and c [A].
    time_step : float
        Time between frames [ps].
    start_time : float
        Time of the first frame [ps].
    """

    species: tuple[str, ...]
    positions: FloatArray
    cells: FloatArray
    time_step: float
    start_time: float


def write(path: Path, data: Contents, dtype: str) -> Path:
    """Write an H5MD file beside its final place and move it there.

    Parameters
    ----------
    path : Path
        Where to.
    data : Contents
        The trajectory.
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
            _fill(file, data, dtype)
        part.replace(path)
    except OSError as error:
        message = f"the trajectory cannot be written ({error})"
        raise TrajectoryError(message, where=str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    return path


def _fill(file: Any, data: Contents, dtype: str) -> None:
    header = file.create_group("h5md")
    header.attrs["version"] = np.array([1, 1], dtype=np.int32)
    header.create_group("author").attrs["name"] = "laoc-flows"
    creator = header.create_group("creator")
    creator.attrs["name"] = "laoc-flows"
    creator.attrs["version"] = version("laoc-flows")
    header.create_group("modules").create_group("units").attrs["version"] = np.array([1, 0], dtype=np.int32)

    n_frames, n_atoms, _ = data.positions.shape
    group = file.create_group(_GROUP)
    position = group.create_group("position")
    position.create_dataset("step", data=np.arange(n_frames, dtype=np.int64))
    times = data.start_time + data.time_step * np.arange(n_frames)
    position.create_dataset("time", data=times).attrs["unit"] = "ps"
    chunk = max(1, min(n_frames, _CHUNK_BYTES // (12 * n_atoms)))
    position.create_dataset(
        "value",
        data=data.positions.astype(dtype),
        chunks=(chunk, n_atoms, 3),
        compression="gzip",
        compression_opts=4,
        shuffle=True,
    ).attrs["unit"] = "Angstrom"

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


def read(path: Path) -> Contents:
    """Read the first particle group of an H5MD file.

    Where the time goes back, as after a restart from a checkpoint, the frames that the restart replaced are
    dropped.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    Contents
        The trajectory in angstrom and ps.

    Raises
    ------
    TrajectoryError
        When the file is not H5MD, lacks species, cells or units, or its frames are not equally spaced.
    """
    try:
        with h5py.File(path, "r") as file:
            return _parse(file)
    except TrajectoryError as error:
        raise TrajectoryError(error.message, where=str(path), remedy=error.remedy) from error
    except (OSError, KeyError, StopIteration, ValueError) as error:
        message = f"not a readable H5MD file ({type(error).__name__}: {error})"
        raise TrajectoryError(message, where=str(path)) from error


def _parse(file: Any) -> Contents:
    group = file["particles"][next(iter(file["particles"]))]
    position = group["position"]
    if "species" not in group:
        message = "the file does not name its elements (no 'species')"
        raise TrajectoryError(message, remedy="write it with Trajectory.write")
    time = position["time"]
    times = np.asarray(time[()], dtype=np.float64) * _factor(time, _TIMES)
    n_stored = position["value"].shape[0]
    if times.shape != (n_stored,) or n_stored == 0:
        message = f"{n_stored} frames come with times of shape {times.shape}"
        raise TrajectoryError(message)
    keep = _continuous(times)
    times = times[keep]
    positions = np.asarray(position["value"][()], dtype=np.float64)[keep]
    positions *= _factor(position["value"], _LENGTHS)
    return Contents(
        species=_species(group["species"]),
        positions=positions,
        cells=_cells(group["box"], n_stored)[keep],
        time_step=_time_step(file, times),
        start_time=float(times[0]),
    )


def _factor(dataset: Any, table: dict[str, float]) -> float:
    unit = dataset.attrs.get("unit")
    name = unit.decode() if isinstance(unit, bytes) else str(unit)
    if name not in table:
        message = f"{dataset.name} has unit {name!r}, not one of {', '.join(table)}"
        raise TrajectoryError(message)
    return table[name]


def _continuous(times: FloatArray) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Mark the frames that no later frame replaces."""
    later = np.minimum.accumulate(times[::-1])[::-1]
    return np.append(times[:-1] < later[1:], values=True)


def _species(dataset: Any) -> tuple[str, ...]:
    names = h5py.check_enum_dtype(dataset.dtype)
    values = [int(value) for value in np.asarray(dataset[()]).reshape(-1)]
    by_value = {int(v): str(k) for k, v in names.items()} if names else dict(enumerate(chemical_symbols))
    return tuple(by_value.get(value, "?") for value in values)


def _cells(box: Any, n_frames: int) -> FloatArray:
    edges = box["edges"]
    dataset = edges["value"] if isinstance(edges, h5py.Group) else edges
    cells = np.asarray(dataset[()], dtype=np.float64) * _factor(dataset, _LENGTHS)
    if isinstance(edges, h5py.Dataset):
        cells = np.broadcast_to(cells, (n_frames, *cells.shape))
    return cells if cells.shape[1:] == (3, 3) else np.asarray(cells[:, :, None] * np.eye(3))


def _time_step(file: Any, times: FloatArray) -> float:
    stated = float(file[_OWN]["time_step"][()]) if _OWN in file else None
    if len(times) == 1:
        if stated is None:
            message = "one frame does not tell the time step"
            raise TrajectoryError(message)
        return stated
    steps = np.diff(times)
    step = float(np.median(steps)) if stated is None else stated
    if np.abs(steps - step).max() > 1e-3 * step:
        message = f"the frames are not equally spaced: {steps.min():g} to {steps.max():g} ps"
        raise TrajectoryError(message, remedy="cut out an equally spaced part")
    return step
