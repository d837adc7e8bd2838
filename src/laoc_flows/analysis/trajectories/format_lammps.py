"""Text dumps of LAMMPS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from laoc_flows.analysis.trajectories.formats import (
    ElementNames,
    ElementTranslator,
    Lines,
    Snapshot,
    open_file,
)
from laoc_flows.analysis.trajectories.frame import FloatArray
from laoc_flows.errors import TrajectoryError

# Units that count in angstrom, and their times in ps.
_TIMES = {"metal": 1.0, "real": 1e-3}
# From what follows without unwrapping to what does not; with image flags x and xs follow, too.
_COLUMNS = (("xu", "yu", "zu"), ("xsu", "ysu", "zsu"), ("x", "y", "z"), ("xs", "ys", "zs"))
# Lines of each section of a header; a name comes before what it begins with.
_SECTIONS = {"UNITS": 1, "TIMESTEP": 1, "TIME": 1, "NUMBER OF ATOMS": 1, "BOX BOUNDS": 3}


def lammps(path: Path, elements: ElementNames | None) -> Iterator[Snapshot]:
    """Read a text dump of LAMMPS in units that count in angstrom.

    Parameters
    ----------
    path : Path
        The file; x, xs, xu or xsu columns, with or without image flags, any box, atoms in any order.
    elements : mapping or sequence of str, optional
        Element of every type; by default the ``element`` column tells.

    Yields
    ------
    Snapshot
        Atoms by ascending id, the lower corner of the box at zero; continuous where the dump tells images.

    Notes
    -----
    ASE drops the image flags, and MDAnalysis applies them as if every box were orthogonal.
    """
    translator = ElementTranslator(elements)
    known: npt.NDArray[np.int64] | None = None
    sections: dict[str, list[str]] = {}
    with open_file(path, "rt") as file:
        lines = Lines(file)
        while line := lines.line():
            name = line.removeprefix("ITEM:").strip()
            section = next((key for key in _SECTIONS if name.startswith(key)), None)
            if section is not None:
                sections[section] = [name, *lines.take(_SECTIONS[section])]
            elif name.startswith("ATOMS"):
                snapshot, ids = _snapshot(lines, name.split()[1:], sections, translator)
                known = ids if known is None else known
                if not np.array_equal(ids, known) or (np.diff(ids) == 0).any():
                    message = f"frame {lines.n_frames} holds other ids than frame 0, or one twice"
                    raise TrajectoryError(message)
                lines.frame_done()
                yield snapshot
            elif name:
                message = f"line {lines.n_lines} is not part of a text dump: {name[:40]!r}"
                raise TrajectoryError(message)


def _snapshot(
    lines: Lines, names: list[str], sections: dict[str, list[str]], translator: ElementTranslator
) -> tuple[Snapshot, npt.NDArray[np.int64]]:
    """Return the frame, sorted by ids, and the ids."""
    units = sections["UNITS"][1].strip() if "UNITS" in sections else "metal"
    if units not in _TIMES:
        message = f"the dump is in {units} units, not in {' or '.join(_TIMES)}"
        raise TrajectoryError(message)
    rows = lines.take(int(sections["NUMBER OF ATOMS"][1]))
    cell, corner = _box(sections["BOX BOUNDS"][0].split()[2:], sections["BOX BOUNDS"][1:])
    labels = lines.words(rows, names.index(_label(names, translator)))
    ids, positions, continuous = _atoms(lines, names, rows, cell, corner)
    order = np.argsort(ids, kind="stable")
    snapshot = Snapshot(
        species=translator.species([labels[k] for k in order.tolist()]),
        positions=positions[order],
        cell=cell,
        step=int(sections["TIMESTEP"][1]),
        time=float(sections["TIME"][1]) * _TIMES[units] if "TIME" in sections else None,
        continuous=continuous,
    )
    return snapshot, ids[order]


def _label(names: list[str], translator: ElementTranslator) -> str:
    """Return the column that tells the elements."""
    name = "type" if translator.names and "type" in names else "element"
    if name not in names:
        message = "the dump names types, not elements"
        raise TrajectoryError(
            message, remedy="give elements= in the order of the types, as ('Li', 'Al', ...)"
        )
    return name


def _atoms(
    lines: Lines, names: list[str], rows: list[str], cell: FloatArray, corner: FloatArray
) -> tuple[npt.NDArray[np.int64], FloatArray, bool]:
    """Return ids, positions and whether these are continuous."""
    axes = next((triple for triple in _COLUMNS if set(triple) <= set(names)), None)
    if axes is None or "id" not in names:
        message = f"the dump lacks ids or positions; its columns are {' '.join(names)}"
        raise TrajectoryError(message, remedy="dump id, type or element, x, y, z and, best, ix, iy, iz")
    unwrapped = axes[0].endswith("u")
    flags = ("ix", "iy", "iz")
    flagged = not unwrapped and set(flags) <= set(names)
    wanted = ("id", *axes, *(flags if flagged else ()))
    numbers = lines.numbers(rows, [names.index(name) for name in wanted])
    positions = numbers[:, 1:4] @ cell if axes[0].startswith("xs") else numbers[:, 1:4] - corner
    if flagged:
        positions += numbers[:, 4:7] @ cell
    return numbers[:, 0].astype(np.int64), positions, unwrapped or flagged


def _box(labels: list[str], rows: list[str]) -> tuple[FloatArray, FloatArray]:
    """Return the cell and its corner, see https://docs.lammps.org/Howto_triclinic.html."""
    boundary = [label for label in labels if len(label) == 2 and set(label) <= set("pfsm")]  # noqa: PLR2004
    if any(label != "pp" for label in boundary):
        message = f"the box is not periodic in all three directions ({' '.join(boundary)})"
        raise TrajectoryError(message)
    numbers = np.array([row.split() for row in rows], dtype=np.float64)
    if labels[:1] == ["abc"]:
        return numbers[:, :3].copy(), numbers[:, 3].copy()
    low, high = numbers[:, 0].copy(), numbers[:, 1].copy()
    xy, xz, yz = numbers[:, 2] if numbers.shape[1] > 2 else (0.0, 0.0, 0.0)  # noqa: PLR2004
    low[0] -= min(0.0, xy, xz, xy + xz)
    high[0] -= max(0.0, xy, xz, xy + xz)
    low[1] -= min(0.0, yz)
    high[1] -= max(0.0, yz)
    cell = np.diag(high - low)
    cell[1, 0], cell[2, 0], cell[2, 1] = xy, xz, yz
    return cell, low
