"""What ``laoc analyze`` is given: turned into what the suite takes, or refused before anything is computed."""

from __future__ import annotations

import math
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from laoc_flows.analysis import Analysis, FrameSeries, Trajectory, as_frame
from laoc_flows.analysis.structure.bonds import CENTER, LIGANDS
from laoc_flows.analysis.trajectories.paths import CARRIER
from laoc_flows.errors import InputError, LaocError

IN_MEMORY = 512 * 2**20
"""Positions [bytes] up to which a trajectory is held in memory; a larger one is read chunk by chunk."""
_JSON = "analysis.json"
_OPTIONS = {
    r"time_step in ps": "--time-step (ps)",
    r"\btime_step\b": "--time-step",
    r"\bmd_step\b": "--md-step",
    r"\belements=": "--elements ",
    r"\bcell=": "--cell ",
    r"\bformat=": "another file name; format=",
}


def positive(value: float | None, option: str, unit: str) -> None:
    """Refuse what is no positive number.

    Parameters
    ----------
    value : float or None
        The number; None where it was not given.
    option : str
        Name of the option.
    unit : str
        Its unit.

    Raises
    ------
    InputError
        When it is not positive or not finite.
    """
    if value is not None and not (math.isfinite(value) and value > 0):
        message = f"{option} {value:g} is not a positive number"
        raise InputError(message, remedy=f"give {unit}")


def numbers(given: Sequence[str], option: str) -> dict[str, float]:
    """Parse ``Cl=2.8`` and the like.

    Parameters
    ----------
    given : sequence of str
        One for each time that the option was given.
    option : str
        Its name.

    Raises
    ------
    InputError
        When one is no element with a finite number.
    """
    found: dict[str, float] = {}
    for each in given:
        name, _, text = each.partition("=")
        with suppress(ValueError):
            found[name.strip()] = float(text)
        if not math.isfinite(found.get(name.strip(), math.inf)):
            message = f"{option} {each!r} is not ELEMENT=NUMBER"
            raise InputError(message, remedy=f"for example {option} Cl=2.8")
    return found


def cutoffs(given: Sequence[str], option: str) -> dict[str, float] | None:
    """Parse bond cutoffs [A], which are positive; None without any."""
    found = numbers(given, option)
    for name, value in found.items():
        positive(value, f"{option} {name}", "angstrom")
    return found or None


def present(series: FrameSeries, center: str, ligands: Sequence[str], carrier: str) -> None:
    """Refuse roles that were chosen for elements that the file does not hold.

    The defaults may be absent: a crystal without O, or without Li, is still one of ours.

    Parameters
    ----------
    series : FrameSeries
        The run.
    center, ligands, carrier : str, sequence of str, str
        The roles.

    Raises
    ------
    InputError
        When a chosen element is not in the file.
    """
    held = list(dict.fromkeys(series.species))
    chosen = [("--center", [center], [CENTER]), ("--ligands", list(ligands), list(LIGANDS))]
    for option, names, default in [*chosen, ("--carrier", [carrier], [CARRIER])]:
        absent = [name for name in names if name not in held]
        if absent and names != default:
            message = f"{option} {','.join(names)}: there is no {' and no '.join(absent)} in the file"
            raise InputError(message, remedy=f"it holds {', '.join(held)}")


def cell_of(text: str | None) -> Path | list[list[float]] | None:
    """Path of a cell file, or three edges or nine components [A].

    Raises
    ------
    InputError
        When there is another count of numbers.
    """
    if text is None:
        return None
    try:
        found = [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        return Path(text)
    if len(found) == 3:  # noqa: PLR2004 - three edges
        return [[found[0], 0.0, 0.0], [0.0, found[1], 0.0], [0.0, 0.0, found[2]]]
    if len(found) == 9:  # noqa: PLR2004 - three vectors
        return [found[0:3], found[3:6], found[6:9]]
    message = f"--cell {text!r} has {len(found)} numbers"
    raise InputError(
        message, remedy="give a CP2K .cell file, three edges, or nine components, row by row [A]"
    )


def reference(path: Path | None, option: str) -> FrameSeries | None:
    """Read the structure or the trajectory that an option names.

    Raises
    ------
    InputError
        When it cannot be read.
    """
    if path is None:
        return None
    from ase.io import read

    if not path.is_file():
        message = "there is no such file"
        raise InputError(message, where=str(path), remedy=f"{option} names a structure or a trajectory")
    try:
        return Trajectory.read(path)
    except LaocError:
        try:
            frame = as_frame(read(path))
        except LaocError:
            raise
        except Exception as error:  # ASE's readers raise anything
            message = f"neither a trajectory nor a structure ({type(error).__name__}: {error})"
            raise InputError(message, where=str(path)) from error
    return Trajectory(frame.species, frame.positions[None], frame.cell, time_step=1.0)


@contextmanager
def in_words_of_options() -> Iterator[None]:
    """Say what a reader misses by the names of the options instead of those of its parameters."""
    try:
        yield
    except LaocError as error:
        remedy = None if error.remedy is None else _translated(error.remedy)
        raise type(error)(_translated(error.message), where=error.where, remedy=remedy) from error


def _translated(text: str) -> str:
    for pattern, option in _OPTIONS.items():
        text = re.sub(pattern, option, text)
    return text


def selected(series: FrameSeries, start: float | None, stop: float | None) -> FrameSeries:
    """Cut out a window of time, and hold it in memory if it is small.

    Parameters
    ----------
    series : FrameSeries
        The run.
    start, stop : float or None
        Half-open window on the file's own time [ps].

    Raises
    ------
    InputError
        When no frame lies inside.
    """
    first, last = float(series.times[0]), float(series.times[-1])
    begin = first if start is None else start
    end = math.inf if stop is None else stop
    if not begin < end:
        message = (
            f"--stop {end:g} ps is not after --start {begin:g} ps, where the file starts at {first:g} ps"
        )
        raise InputError(message, remedy="both count on the file's own time")
    if begin > last or end <= first:
        message = (
            f"there is no frame from {begin:g} to {end:g} ps; the file runs from {first:g} to {last:g} ps"
        )
        raise InputError(message, remedy="--start and --stop count on the file's own time")
    if start is not None or stop is not None:
        series = series.window(begin, end)
    if 24 * series.n_atoms * series.n_frames <= IN_MEMORY:
        return series.block(0, series.n_frames)
    return series


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn a failure of the file system into one line.

    Parameters
    ----------
    path : pathlib.Path
        The folder that is written.

    Raises
    ------
    InputError
        When it cannot be written, or when the disk fills up.
    """
    try:
        yield
    except OSError as error:
        message = f"it cannot be written ({error.strerror or error})"
        raise InputError(message, where=f"--out {path}", remedy="give a folder with room in it") from error


@contextmanager
def folder(path: Path) -> Iterator[None]:
    """Have a folder that can be written before the work begins; one that was made for nothing goes away again.

    Parameters
    ----------
    path : pathlib.Path
        The folder.

    Raises
    ------
    InputError
        When it cannot be made or written.
    """
    made = [each for each in (path, *path.parents) if not each.exists()]
    try:
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path):
                pass
        yield
    finally:
        # Only empty ones can be removed.
        with suppress(OSError):
            for each in made:
                each.rmdir()


def write_json(analysis: Analysis, directory: Path) -> Path:
    """Write ``analysis.json`` in one step.

    Parameters
    ----------
    analysis : Analysis
        The result.
    directory : pathlib.Path
        Where to.
    """
    path = directory / _JSON
    part = directory / f".{_JSON}.{os.getpid()}.part"
    try:
        part.write_text(analysis.model_dump_json(indent=1) + "\n")
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return path
