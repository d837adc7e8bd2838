"""XYZ files: extended, of CP2K with its cell file, or plain with a cell."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from laoc_flows.analysis.trajectories.formats import (
    CellSource,
    ElementNames,
    ElementTranslator,
    Lines,
    Snapshot,
    open_file,
)
from laoc_flows.analysis.trajectories.frame import FloatArray
from laoc_flows.errors import TrajectoryError

_CP2K = re.compile(r"\bi\s*=\s*(\d+)\s*,\s*time\s*=\s*([-+.\deE]+)")


def xyz(path: Path, elements: ElementNames | None, cell: CellSource | None) -> Iterator[Snapshot]:
    """Read XYZ files: extended, of CP2K, or plain with a cell.

    Parameters
    ----------
    path : Path
        The file; its comment lines tell which kind it is.
    elements : mapping or sequence of str, optional
        Element of every label that is none itself.
    cell : path or array_like, shape (3, 3), optional
        CP2K's ``.cell`` file, or one cell [A]; for files that hold none.

    Yields
    ------
    Snapshot
        Those of CP2K, which does not wrap, are continuous.

    Notes
    -----
    ASE reads extended files in two passes and takes three times as long, and drops CP2K's steps and times.
    """
    translator = ElementTranslator(elements)
    cells = None if cell is None else _cells_of(cell)
    with open_file(path, "rt") as file:
        lines = Lines(file)
        while head := lines.line():
            if not head.strip():
                continue
            try:
                n_atoms = int(head)
            except ValueError:
                message = f"line {lines.n_lines} is not a number of atoms: {head.strip()[:40]!r}"
                raise TrajectoryError(message) from None
            comment = lines.need()
            rows = lines.take(n_atoms)
            found = _CP2K.search(comment)
            step, time = (int(found[1]), float(found[2]) * 1e-3) if found else (None, None)
            column, first = 0, 1
            matrix: FloatArray | None = None
            if "lattice" in comment.lower():
                column, first, matrix = _extended(comment)
            if (matrix is None) == (cells is None):
                message = "the file holds no cell" if cells is None else "the file holds its own cells"
                remedy = (
                    "give cell= (a 3x3 matrix in A, or the path of CP2K's .cell file)"
                    if cells is None
                    else "leave out cell="
                )
                raise TrajectoryError(message, remedy=remedy)
            if cells is not None:
                matrix = cells(step)
            labels = lines.words(rows, column)
            positions = lines.numbers(rows, (first, first + 1, first + 2))
            lines.frame_done()
            yield Snapshot(
                translator.species(labels),
                positions,
                np.asarray(matrix),
                step,
                time,
                step is not None,
            )


def _extended(comment: str) -> tuple[int, int, FloatArray]:
    """Return the columns of the symbol and of x, and the cell."""
    from ase.io.extxyz import key_val_str_to_dict

    info = {key.lower(): value for key, value in key_val_str_to_dict(comment).items()}
    if not np.all(info.get("pbc", True)):
        message = "the frames are not periodic in all three directions"
        raise TrajectoryError(message)
    columns: dict[str, int] = {}
    fields = str(info.get("properties", "species:S:1:pos:R:3")).split(":")
    at = 0
    for name, width in zip(fields[::3], fields[2::3], strict=True):
        columns[name.lower()] = at
        at += int(width)
    # ASE parses the nine numbers into a matrix with the vectors as columns.
    return columns["species"], columns["pos"], np.asarray(info["lattice"], dtype=np.float64).T


def _cells_of(source: CellSource) -> Callable[[int | None], FloatArray]:
    """Return the cell as a function of the MD step."""
    if not isinstance(source, (str, Path)):
        matrix = np.asarray(source, dtype=np.float64)
        if matrix.shape != (3, 3):
            message = f"cell= has shape {matrix.shape}, not (3, 3)"
            raise TrajectoryError(message)
        return lambda _: matrix
    try:
        table = np.loadtxt(source, ndmin=2)
        cells = table[:, 2:11].reshape(-1, 3, 3)
    except (OSError, ValueError) as error:
        message = f"cell={source} is not a cell file of CP2K ({error})"
        raise TrajectoryError(message) from error
    by_step = {int(step): k for k, step in enumerate(table[:, 0])}
    constant = len(cells) > 0 and np.ptp(cells, axis=0).max() == 0

    def at(step: int | None) -> FloatArray:
        if constant:
            return cells[0]
        if step not in by_step:
            message = f"{source} holds no cell of step {step}"
            raise TrajectoryError(message, remedy="print the cell as often as the positions")
        return cells[by_step[step]]

    return at
