"""Labels in files of other programs, frame by frame, and what keeps a frame from being a label."""

from __future__ import annotations

import gzip
import re
import shutil
import tempfile
import warnings
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import dpdata
import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import iread
from ase.stress import full_3x3_to_voigt_6_stress

from laoc_flows.composition import Composition
from laoc_flows.errors import CompositionError, InputError
from laoc_flows.schemas.base import SPECIES
from laoc_flows.store.import_sources import Source

_LEAST_VOLUME: Final = 1e-3  # A^3 per atom
_FOREIGN: Final = "elements other than Li, Al, O and Cl"
_UNCONVERGED: Final = "the SCF has not converged"
_NAMELESS: Final = re.compile(r"Type_\d+")
_BROKEN: Final = "the file breaks off here"


class FileFrame(NamedTuple):
    """One frame of a file.

    Attributes
    ----------
    where : str
        Which frame of which file, counted from 0.
    atoms : ase.Atoms or None
        Periodic frame with energy [eV], forces [eV/A] and stress [eV/A^3]; None if it is no label.
    composition_id : str
        Canonical composition id, empty if it has none.
    problem : str
        What kind of problem it has, empty for none.
    reason : str
        The problem with its numbers.
    info : dict
        What the file says of it besides.
    """

    where: str
    atoms: Atoms | None
    composition_id: str
    problem: str = ""
    reason: str = ""
    info: dict[str, Any] = {}  # noqa: RUF012  # never changed


Show = Callable[[str, int], None]


def read_source(source: Source, show: Show | None = None) -> list[list[FileFrame]]:
    """Read a file, trajectory by trajectory.

    Parameters
    ----------
    source : Source
        File or system.
    show : callable, optional
        Called with the name of the file and the number of frames read so far.

    Returns
    -------
    list of list of FileFrame
        Frames of each trajectory: by ``trajectory_id`` where the file has one, else one for each run of frames with
        the same atoms.

    Raises
    ------
    InputError
        If it cannot be read at all.
    """
    frames: list[FileFrame] = []
    try:
        for frame in _READERS[source.fmt](source.path):
            frames.append(frame)
            if show is not None:
                show(source.path.name, len(frames))
    except InputError:
        raise
    # Each parser has its own ways to fail on a file that is not what it is taken for.
    except Exception as error:  # noqa: BLE001
        told = str(error).strip().splitlines()
        after = f" after frame {len(frames) - 1}" if frames else ""
        msg = f"this cannot be read as {source.fmt}{after} ({': '.join([type(error).__name__, *told[:1]])[:200]})"
        raise InputError(msg, where=str(source.path), remedy="check the file and --format") from None
    if not frames:
        msg = f"there is no frame in it, read as {source.fmt}"
        raise InputError(msg, where=str(source.path), remedy="check the file and --format")
    return _trajectories(frames)


def _trajectories(frames: list[FileFrame]) -> list[list[FileFrame]]:
    named: dict[tuple[str, str], list[FileFrame]] = {}
    found: list[list[FileFrame]] = []
    before: str | None = None
    for frame in frames:
        name = frame.info.get("trajectory_id")
        if name is not None:
            group = named.setdefault((str(name), frame.composition_id), [])
            if not group:
                found.append(group)
            group.append(frame)
            before = None
            continue
        atoms = "" if frame.atoms is None else frame.atoms.get_chemical_formula()
        # A frame that is no label does not end the run that it is in.
        if before is None or (atoms and before and atoms != before):
            found.append([])
        found[-1].append(frame)
        before = atoms or before or ""
    return found


def _checked(
    where: str, atoms: Atoms, energy: Any, forces: Any, stress: Any, info: dict[str, Any] | None = None
) -> FileFrame:
    """One frame, with the first reason for which it is no label."""
    known = info or {}

    def bad(problem: str, reason: str = "", composition_id: str = "") -> FileFrame:
        return FileFrame(where, None, composition_id, problem, reason or problem, known)

    symbols = atoms.get_chemical_symbols()
    composition_id, problem, reason = _composition(symbols)
    if not problem:
        problem, reason = _geometry(atoms)
    if problem:
        return bad(problem, reason, composition_id)
    for name, value in (("energy", energy), ("forces", forces), ("stress", stress)):
        if value is None:
            return bad(f"no {name}", f"it has no {name}", composition_id)
    tensor = np.asarray(stress, dtype=np.float64)
    if tensor.shape == (3, 3):
        tensor = full_3x3_to_voigt_6_stress(tensor)
    push = np.asarray(forces, dtype=np.float64)
    if push.shape != (len(atoms), 3) or tensor.shape != (6,):
        return bad("forces or stress of a wrong shape", composition_id=composition_id)
    for name, numbers, told in (
        ("energy", np.asarray(energy, dtype=np.float64), "is not a finite number"),
        ("forces", push, "are not finite numbers"),
        ("stress", tensor, "is not finite"),
    ):
        if not np.isfinite(numbers).all():
            return bad(f"{name} not finite", f"its {name} {told}", composition_id)
    labeled = Atoms(symbols, positions=atoms.positions, cell=atoms.cell, pbc=True)
    labeled.calc = SinglePointCalculator(labeled, energy=float(energy), forces=push, stress=tensor)
    return FileFrame(where, labeled, composition_id, info=known)


def _composition(symbols: list[str]) -> tuple[str, str, str]:
    """Composition id, or the problem in its place."""
    if foreign := sorted(set(symbols) - set(SPECIES)):
        return "", _FOREIGN, f"it holds {', '.join(foreign)}, not only Li, Al, O and Cl"
    try:
        return Composition.from_counts(*(symbols.count(each) for each in SPECIES)).id, "", ""
    except CompositionError as error:
        return "", "no neutral cell with Al", error.message


def _geometry(atoms: Atoms) -> tuple[str, str]:
    if not (np.isfinite(atoms.positions).all() and np.isfinite(atoms.cell.array).all()):
        return "positions or cell not finite", "positions or cell are not finite numbers"
    if not atoms.pbc.all() or abs(np.linalg.det(atoms.cell.array)) < _LEAST_VOLUME * len(atoms):
        return "not periodic", "it is not periodic in three directions"
    return "", ""


def _extxyz(path: Path) -> Iterator[FileFrame]:
    for index, atoms in enumerate(iread(path, index=":", format="extxyz")):
        # Not through the getters: they set the forces on atoms that were held fixed to zero.
        results = {} if atoms.calc is None else atoms.calc.results
        # The forces are the derivative of the free energy where the electrons are smeared.
        energy = results.get("free_energy", results.get("energy"))
        yield _checked(
            f"{path}: frame {index}",
            atoms,
            energy,
            results.get("forces"),
            results.get("stress"),
            dict(atoms.info),
        )


def _npy(path: Path) -> Iterator[FileFrame]:
    sets = sorted(path.glob("set.*"))
    # A system without energies is none that dpdata would read as labeled.
    has_energy = bool(sets) and all((each / "energy.npy").is_file() for each in sets)
    read = dpdata.LabeledSystem if has_energy else dpdata.System
    yield from _of_system(str(path), read(str(path), fmt="deepmd/npy").data)


def _mixed(path: Path) -> Iterator[FileFrame]:
    systems = dpdata.MultiSystems().load_systems_from_file(str(path), fmt="deepmd/npy/mixed")
    for formula, system in systems.systems.items():
        yield from _of_system(f"{path} ({formula})", system.data)


def _of_system(where: str, data: dict[str, Any]) -> Iterator[FileFrame]:
    symbols = [data["atom_names"][index] for index in data["atom_types"]]
    _, problem, told = _composition(symbols)
    if problem and any(_NAMELESS.fullmatch(name) for name in data["atom_names"]):
        problem, told = (
            "types without names",
            "its types have no names: a type_map.raw with Li, Al, O and Cl is missing",
        )
    periodic = not data.get("nopbc", False)
    for index, (cell, positions) in enumerate(zip(data["cells"], data["coords"], strict=True)):
        name = f"{where}: frame {index}"
        # Names that are no elements, such as those of a system without a type map, make no atoms.
        if problem:
            yield FileFrame(name, None, "", problem, told)
            continue
        atoms = Atoms(symbols, positions=positions, cell=cell, pbc=periodic)
        energy, forces, virial = (
            data[each][index] if each in data else None for each in ("energies", "forces", "virials")
        )
        stress = None
        if virial is not None and (volume := abs(float(np.linalg.det(cell)))) > 0:
            stress = -np.asarray(virial, dtype=np.float64) / volume
        yield _checked(name, atoms, energy, forces, stress)


def _vasprun(path: Path) -> Iterator[FileFrame]:
    # The reader of the VASP engine: the same energies, signs and positions as those of a campaign.
    from laoc_flows.engines.vasp_outputs import read_output

    with tempfile.TemporaryDirectory() as made:
        _unpacked(path, Path(made) / "vasprun.xml")
        beside = path.with_name("OUTCAR")
        if path.name.startswith("vasprun.xml") and beside.is_file():
            _unpacked(beside, Path(made) / "OUTCAR")
        try:
            output = read_output(Path(made))
        except ValueError as error:
            msg = f"this cannot be read as vasp/xml ({error})"
            raise InputError(msg, where=str(path), remedy="check the file and --format") from None
    for index in range(len(output)):
        where = f"{path}: frame {index}"
        if not output.converged[index]:
            yield FileFrame(where, None, "", _UNCONVERGED, _UNCONVERGED)
            continue
        atoms = Atoms(
            output.symbols, scaled_positions=output.fractions[index], cell=output.cells[index], pbc=True
        )
        yield _checked(where, atoms, output.energies[index], output.forces[index], output.stresses[index])
    if not output.complete:
        yield FileFrame(f"{path}: frame {len(output)}", None, "", _BROKEN, _BROKEN)


def _outcar(path: Path) -> Iterator[FileFrame]:
    with tempfile.TemporaryDirectory() as made, warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        plain = Path(made) / "OUTCAR"
        _unpacked(path, plain)
        every = dpdata.LabeledSystem(str(plain), fmt="vasp/outcar", convergence_check=False)
        lost = sum(
            "incomplete labels" in str(each.message) or "no energy found" in str(each.message)
            for each in said
        )
        failed = any("unconverged" in str(each.message) for each in said)
        data = every.data
        if failed:
            try:
                data = dpdata.LabeledSystem(str(plain), fmt="vasp/outcar").data
            # None of its frames is left, which dpdata cannot make a system of.
            except Exception:  # noqa: BLE001
                data = {**every.data, "coords": [], "cells": []}
    yield from _of_system(str(path), data)
    n_good, n_all = len(data["coords"]), len(every.data["coords"])
    yield from (
        FileFrame(f"{path}: one of {n_all} frames", None, "", _UNCONVERGED, _UNCONVERGED)
        for _ in range(n_all - n_good)
    )
    yield from (FileFrame(f"{path}: frame {n_all}", None, "", _BROKEN, _BROKEN) for _ in range(lost))


def _unpacked(path: Path, target: Path) -> None:
    if path.suffix != ".gz":
        target.symlink_to(path.resolve())
        return
    try:
        with gzip.open(path) as packed, target.open("wb") as out:
            shutil.copyfileobj(packed, out)
    except (OSError, EOFError, zlib.error):
        msg = "this is not a whole gzip file"
        raise InputError(msg, where=str(path), remedy="copy it again") from None


_READERS: dict[str, Callable[[Path], Iterator[FileFrame]]] = {
    "extxyz": _extxyz,
    "deepmd/npy": _npy,
    "deepmd/npy/mixed": _mixed,
    "vasp/xml": _vasprun,
    "vasp/outcar": _outcar,
}
