"""What CP2K wrote: energies, forces, stresses, trajectories, and what became of the SCF.

CP2K prints its stress as a pressure, positive under compression, and the stress of a dynamics with the kinetic term in
it. Here every stress is without the kinetic term and has the sign of ASE; the pressures of `Step` have the ideal-gas
term, once. pymatgen's ``Cp2kOutput`` is not used: it looks at the convergence of one SCF per run and at one format of
the forces, and fails on the output of a run that was stopped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from ase import Atoms, units
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

OUTPUT_FILE = "cp2k.out"
_SCF_HEADER = "SCF WAVEFUNCTION OPTIMIZATION"
_UNCONVERGED = "SCF run NOT converged"
_CONVERGED = "SCF run converged"
_WALLTIME = "exceeded requested execution time"
_ENDED = "PROGRAM ENDED AT"
_NUMBER = r"([-+]?\d+\.\d+(?:[ED][-+]?\d+)?)"
_ENERGY = re.compile(rf"^ ENERGY\| Total FORCE_EVAL .*\]:?\s+{_NUMBER}", re.MULTILINE)
# Until 2024 a table, then lines with a prefix.
_FORCE = re.compile(
    rf"^\s+(?:FORCES\|\s+\d+|\d+\s+\d+\s+([A-Z][a-z]?))\s+{_NUMBER}\s+{_NUMBER}\s+{_NUMBER}(?:\s|$)",
    re.MULTILINE,
)
_STRESS_HEADER = re.compile(r"^ STRESS\| Analytical stress tensor \[(\w+)\]", re.MULTILINE)
_STRESS_ROW = re.compile(rf"^ STRESS\|\s+[xyz]\s+{_NUMBER}\s+{_NUMBER}\s+{_NUMBER}", re.MULTILINE)
_UNITS = {"GPa": units.GPa, "bar": units.bar}
_OPTIMIZATION_STEP = re.compile(r"OPTIMIZATION STEP:\s+(\d+)")
_BANNER = re.compile(r"\[ABORT\].*?\n(.*?)\n \*{20,}", re.DOTALL)
_ART_WIDTH = 17


@dataclass(frozen=True)
class ScfReport:
    """What an output tells of the run.

    Attributes
    ----------
    good_steps : int or None
        Last step whose forces are converged: 0 for the start, -1 if not even that one is; None if all are.
    converged : bool
        Whether any SCF has converged.
    ended : bool
        Whether the program reached its end.
    out_of_time : bool
        Whether it stopped because its time was over.
    message : str
        Why it gave up, in its own words; empty if it did not.
    """

    good_steps: int | None
    converged: bool
    ended: bool
    out_of_time: bool
    message: str

    @property
    def unconverged(self) -> bool:
        """Whether an SCF did not converge, although it had the time."""
        return self.good_steps is not None and not self.out_of_time


def read_report(path: Path) -> ScfReport:
    """Read what became of a run, finished or not.

    Parameters
    ----------
    path : pathlib.Path
        Output of CP2K.
    """
    text = path.read_text(errors="replace") if path.exists() else ""
    good: int | None = None
    if _UNCONVERGED in text:
        before = text[: text.index(_UNCONVERGED)]
        steps = _OPTIMIZATION_STEP.findall(before)
        # A dynamics makes one SCF for the start and one for each step; an optimizer may make more.
        good = int(steps[-1]) - 1 if steps else before.count(_SCF_HEADER) - 2
    return ScfReport(
        good_steps=good,
        converged=_CONVERGED in text,
        ended=_ENDED in text,
        out_of_time=_WALLTIME in text,
        message=_abort_message(text),
    )


def _abort_message(text: str) -> str:
    banner = _BANNER.search(text)
    if banner is None:
        return ""
    lines = (line[_ART_WIDTH:].rstrip("* ").strip() for line in banner[1].splitlines())
    return " ".join(line for line in lines if line)


def read_single_point(path: Path, symbols: Sequence[str]) -> tuple[float, np.ndarray, np.ndarray]:
    """Energy, forces and stress of an output.

    Parameters
    ----------
    path : pathlib.Path
        Output of CP2K.
    symbols : sequence of str
        Species of the atoms, in the order of the input.

    Returns
    -------
    energy : float
        Potential energy [eV].
    forces : numpy.ndarray, shape (n_atoms, 3)
        Forces [eV/A].
    stress : numpy.ndarray, shape (6,)
        Stress, ASE sign and Voigt order [eV/A^3].

    Raises
    ------
    ValueError
        If one of them is not there, or belongs to other atoms.
    """
    text = path.read_text(errors="replace")
    energies = _ENERGY.findall(text)
    header = _STRESS_HEADER.search(text)
    if not energies or header is None:
        msg = "the output has no energy or no stress"
        raise ValueError(msg)
    rows = [match.groups() for match in _FORCE.finditer(text)]
    if len(rows) != len(symbols) or any(
        row[0] not in {None, name} for row, name in zip(rows, symbols, strict=True)
    ):
        msg = "the output has forces of other atoms"
        raise ValueError(msg)
    tensor = [_STRESS_ROW.findall(text, header.end())[axis] for axis in range(3)]
    stress = -np.array(tensor, dtype=float) * _UNITS[header[1]]
    return (
        float(energies[-1]) * units.Hartree,
        np.array([row[1:] for row in rows], dtype=float) * units.Hartree / units.Bohr,
        full_3x3_to_voigt_6_stress(stress),
    )


@dataclass(frozen=True)
class Step:
    """One step of a motion.

    Attributes
    ----------
    atoms : ase.Atoms
        Frame with energy, forces and stress, and with momenta in a dynamics.
    temperature : float
        Kinetic temperature, 3N - 3 degrees of freedom [K]; 0 in a relaxation.
    """

    atoms: Atoms
    temperature: float

    @property
    def row(self) -> tuple[float, float, float, float]:
        """Temperature [K], total pressure [GPa], potential energy [eV], volume [A^3]."""
        volume = self.atoms.get_volume()
        ideal = len(self.atoms) * units.kB * self.temperature / volume
        pressure = (ideal - float(np.mean(self.atoms.get_stress()[:3]))) / units.GPa
        return self.temperature, pressure, self.atoms.get_potential_energy(), volume


def read_steps(directory: Path, project: str, start: Atoms, last: int | None = None) -> dict[int, Step]:
    """Read the steps of a dynamics or a relaxation from its files, the start left out.

    Parameters
    ----------
    directory : pathlib.Path
        Where CP2K ran.
    project : str
        Prefix of the files.
    start : ase.Atoms
        The same atoms in the same order.
    last : int, optional
        Last step that counts; by default the last one whose restart file is there, too.
    """
    positions = _read_xyz(directory / f"{project}-pos-1.xyz", len(start))
    forces = _read_xyz(directory / f"{project}-frc-1.xyz", len(start))
    velocities = _read_xyz(directory / f"{project}-vel-1.xyz", len(start))
    stresses, cells = (
        _read_table(directory / f"{project}-1.stress"),
        _read_table(directory / f"{project}-1.cell"),
    )
    temperatures = _read_table(directory / f"{project}-1.ener")
    complete = {int(path.stem.rsplit("_", 1)[1]) for path in directory.glob(f"{project}-1_*.restart")}
    complete &= set(positions) & set(forces) & set(stresses) & set(cells)
    if velocities:
        complete &= set(velocities) & set(temperatures)
    found: dict[int, Step] = {}
    for step in sorted(complete):
        if step < 1 or (last is not None and step > last):
            continue
        energy, moved = positions[step]
        atoms = Atoms(
            start.get_chemical_symbols(), positions=moved, cell=cells[step][1:10].reshape(3, 3), pbc=True
        )
        pressure = stresses[step][1:10].reshape(3, 3) * units.bar
        temperature = 0.0
        if velocities:
            atoms.set_velocities(velocities[step][1] / (1000.0 * units.fs))
            pressure -= atoms.get_momenta().T @ atoms.get_velocities() / atoms.get_volume()
            temperature = float(temperatures[step][2])
        atoms.calc = SinglePointCalculator(
            atoms,
            energy=energy * units.Hartree,
            forces=forces[step][1] * units.Hartree / units.Bohr,
            stress=full_3x3_to_voigt_6_stress(-pressure),
        )
        found[step] = Step(atoms, temperature)
    return found


def _read_xyz(path: Path, n_atoms: int) -> dict[int, tuple[float, np.ndarray]]:
    """Step -> energy [hartree] and columns of a trajectory; what a kill cut off is left out."""
    if not path.exists():
        return {}
    lines = path.read_text().split("\n")[:-1]
    length = n_atoms + 2
    found = {}
    for begin in range(0, len(lines) - length + 1, length):
        words = dict(part.split("=") for part in lines[begin + 1].split(","))
        title = {name.strip(): value for name, value in words.items()}
        rows = [line.split()[1:4] for line in lines[begin + 2 : begin + length]]
        found[int(title["i"])] = float(title["E"]), np.array(rows, dtype=float)
    return found


def _read_table(path: Path) -> dict[int, np.ndarray]:
    """Step -> the other columns of a table."""
    if not path.exists():
        return {}
    rows = [line.split() for line in path.read_text().split("\n")[:-1] if not line.startswith("#")]
    return {int(row[0]): np.array(row[1:], dtype=float) for row in rows}
