"""What all parsers share: a file becomes a stream of snapshots, with one frame in memory at a time."""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt
from ase.data import atomic_numbers

from laoc_flows.analysis.trajectories.frame import FloatArray, as_frame
from laoc_flows.errors import TrajectoryError

ElementNames: TypeAlias = "Mapping[int, str] | Mapping[str, str] | Sequence[str]"
CellSource: TypeAlias = "str | Path | npt.ArrayLike"

COMPRESSED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
"""What opens a compressed file, by suffix."""

# 'Al', 'Al1', 'Li_sv', 'O/5e7d' and 'Cl-': a symbol, and what tells kinds of one element apart.
_LABEL = re.compile(r"([A-Z][a-z]?)([\d_/+-].*)?")


class Snapshot(NamedTuple):
    """One frame as its file tells it.

    Parameters
    ----------
    species : tuple of str, shape (n_atoms,)
        Element symbols.
    positions : ndarray, shape (n_atoms, 3)
        Cartesian positions [A].
    cell : ndarray, shape (3, 3)
        Rows are a, b and c [A].
    step : int, optional
        Number of the MD step.
    time : float, optional
        Time [ps].
    continuous : bool, default False
        Whether the positions are known not to be wrapped.
    """

    species: tuple[str, ...]
    positions: FloatArray
    cell: FloatArray
    step: int | None = None
    time: float | None = None
    continuous: bool = False


def open_file(path: Path, mode: str) -> IO[Any]:
    """Open a file that may be compressed.

    Parameters
    ----------
    path : Path
        ``.gz``, ``.bz2`` and ``.xz`` are decompressed.
    mode : {"rt", "rb"}
        Text or bytes.

    Returns
    -------
    file
        To be closed by the caller.
    """
    return COMPRESSED.get(path.suffix.lower(), open)(path, mode)


class ElementTranslator:
    """From the labels of a file to element symbols.

    Parameters
    ----------
    elements : mapping or sequence of str, optional
        Element of every label, or of the LAMMPS types 1, 2, ...
    """

    def __init__(self, elements: ElementNames | None) -> None:
        pairs: Any = elements.items() if isinstance(elements, Mapping) else enumerate(elements or (), start=1)
        self.names = {str(label): str(symbol) for label, symbol in pairs}
        self._labels: Sequence[str] = ()
        self._species: tuple[str, ...] = ()

    def species(self, labels: Sequence[str]) -> tuple[str, ...]:
        """Return the element of every label; the same object while the labels stay the same."""
        if labels != self._labels:
            symbols = {label: self._symbol(label) for label in sorted(set(labels))}
            self._labels, self._species = labels, tuple(symbols[label] for label in labels)
        return self._species

    def _symbol(self, label: str) -> str:
        if label in self.names:
            return self.names[label]
        found = _LABEL.fullmatch(label)
        if found is None or atomic_numbers.get(found[1], 0) < 1:
            message = f"the file does not say which element {label!r} is"
            raise TrajectoryError(message, remedy=f"give elements={{{label!r}: 'Li', ...}}")
        return found[1]


class Lines:
    """Lines of a file, and how far it is complete.

    Parameters
    ----------
    file : text file
        Opened; read from here on.
    """

    def __init__(self, file: IO[str]) -> None:
        self.file = file
        self.n_lines = 0
        self.n_frames = 0
        self._complete = 0

    def line(self) -> str:
        """Return the next line; an empty string at the end."""
        text = str(self.file.readline())
        self.n_lines += bool(text)
        return text

    def need(self) -> str:
        """Return the next line of a frame, which has to be there."""
        return self.take(1)[0]

    def take(self, n: int) -> list[str]:
        """Return the next lines of a frame, which have to be there."""
        lines = list(islice(self.file, n))
        self.n_lines += len(lines)
        if len(lines) < n:
            self._refuse("ends within")
        return lines

    def words(self, rows: list[str], column: int) -> list[str]:
        """Return one column as it stands."""
        try:
            return [row.split(None, column + 1)[column] for row in rows]
        except IndexError:
            self._refuse("lacks words in")

    def numbers(self, rows: list[str], columns: Sequence[int]) -> FloatArray:
        """Return some columns as numbers, shape (n_rows, n_columns)."""
        try:
            table = np.loadtxt(rows, usecols=columns, ndmin=2, comments=None)
        except ValueError:
            self._refuse("does not hold the expected numbers in")
        if len(table) != len(rows):
            self._refuse("lacks rows in")
        return table

    def frame_done(self) -> None:
        """Note that the file is complete up to here."""
        self._complete = self.n_lines
        self.n_frames += 1

    def _refuse(self, what: str) -> NoReturn:
        message = f"the file {what} frame {self.n_frames}, near line {self.n_lines}"
        remedy = f"its first {self._complete} lines hold {self.n_frames} complete frames: cut it there"
        raise TrajectoryError(message, remedy=remedy if self.n_frames else None)


def ase_frames(path: Path) -> Iterator[Snapshot]:
    """Read whatever ASE knows, its own ``.traj`` files first of all.

    Parameters
    ----------
    path : Path
        The file.

    Yields
    ------
    Snapshot
        Without steps and times.
    """
    from ase.io import iread

    frames = iread(str(path), index=":", do_not_split_by_at_sign=True)
    while True:
        try:
            atoms = next(frames, None)
        except Exception as error:  # ASE's readers raise anything
            message = f"ASE cannot read it ({type(error).__name__}: {error})"
            raise TrajectoryError(message) from error
        if atoms is None:
            return
        frame = as_frame(atoms)
        yield Snapshot(frame.species, frame.positions, frame.cell)
