"""Random packings: packmol places the ions, an ionic model pushes like charges apart.

A raw random packing reacts in the first femtoseconds of a reference run (Cl2, O-Cl bonds). A short minimization
with scaled formal charges (damped shifted Coulomb) and soft cores puts anions around cations first.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ase import Atoms

from laoc_flows.engines.lammps import lammps_environment, lammps_program, masses_and_order
from laoc_flows.errors import EngineError
from laoc_flows.process import run_program
from laoc_flows.schemas.base import SPECIES
from laoc_flows.settings import Settings

CHARGE_SCALE = 0.6
_FORMAL = {"Li": 1.0, "Al": 3.0, "O": -2.0, "Cl": -1.0}
# Distances at which the soft cores of the pre-relaxation begin [A].
SOFT_CORES = {
    ("Li", "Li"): 2.8,
    ("Li", "Al"): 2.8,
    ("Li", "O"): 1.9,
    ("Li", "Cl"): 2.3,
    ("Al", "Al"): 3.0,
    ("Al", "O"): 1.75,
    ("Al", "Cl"): 2.15,
    ("O", "O"): 2.7,
    ("O", "Cl"): 3.0,
    ("Cl", "Cl"): 3.3,
}
# Twice the scaled Coulomb attraction of Al and O at contact: nothing falls through the core.
_SOFT_PREFACTOR = 80.0
_COULOMB_CUTOFF = 8.0
_PACKMOL_TOLERANCES = (2.4, 2.2, 2.0, 1.8)


def pack(symbols: list[str], length: float, seed: int, directory: Path) -> Atoms:
    """Random packing in a cubic cell, relaxed with the ionic model.

    Parameters
    ----------
    symbols : list of str
        Chemical symbols; the cell must be neutral.
    length : float
        Edge of the cell [A].
    seed : int
        Seed of packmol.
    directory : pathlib.Path
        Where the programs run.

    Returns
    -------
    ase.Atoms
        Periodic packed cell, atoms in the order of `symbols`.

    Raises
    ------
    EngineError
        If packmol finds no packing or the minimization fails.
    """
    return _relax(_packmol(symbols, length, seed, directory), directory)


def _packmol(symbols: list[str], length: float, seed: int, directory: Path) -> Atoms:
    from ase.io import read

    command = Settings.load().command("packmol")
    species = [element for element in SPECIES if element in symbols]
    for element in species:
        (directory / f"{element}.xyz").write_text(f"1\n\n{element} 0.0 0.0 0.0\n")
    edge = f"{length:.6f}"
    for tolerance in _PACKMOL_TOLERANCES:
        lines = [
            f"tolerance {tolerance}",
            f"seed {seed % 10_000_000}",
            f"pbc {edge} {edge} {edge}",
            "output packed.xyz",
            "filetype xyz",
        ]
        for element in species:
            lines += [f"structure {element}.xyz", f"  number {symbols.count(element)}", "end structure"]
        script = directory / "packmol.inp"
        script.write_text("\n".join(lines) + "\n")
        done = run_program(command, directory=directory, log="packmol.log", stdin=script, timeout=600)
        packed = directory / "packed.xyz"
        if done.returncode == 0 and packed.exists():
            atoms = read(packed)
            order = np.argsort(
                [species.index(symbol) for symbol in atoms.get_chemical_symbols()], kind="stable"
            )
            atoms = atoms[order]
            atoms.set_cell([length] * 3)
            atoms.pbc = True
            return atoms
    msg = f"packmol found no packing of {len(symbols)} atoms in a cube of {length:.2f} A: {done.tail()}"
    raise EngineError(msg, remedy="enlarge the cell")


def _relax(atoms: Atoms, directory: Path) -> Atoms:
    from ase.io.lammpsdata import read_lammps_data, write_lammps_data

    atoms = atoms.copy()
    charges = np.array([_FORMAL[symbol] for symbol in atoms.get_chemical_symbols()])
    atoms.set_initial_charges(CHARGE_SCALE * charges)
    write_lammps_data(
        directory / "packed.data",
        atoms,
        specorder=list(SPECIES),
        masses=True,
        units="metal",
        atom_style="charge",
    )
    cores = [
        f"pair_coeff {SPECIES.index(a) + 1} {SPECIES.index(b) + 1} soft {_SOFT_PREFACTOR} {radius}"
        for (a, b), radius in SOFT_CORES.items()
    ]
    script = [
        "units metal",
        "atom_style charge",
        "boundary p p p",
        "box tilt large",
        "read_data packed.data",
        *masses_and_order(),
        f"pair_style hybrid/overlay coul/dsf 0.2 {_COULOMB_CUTOFF} soft {max(SOFT_CORES.values())}",
        "pair_coeff * * coul/dsf",
        *cores,
        "min_style cg",
        "min_modify dmax 0.05",
        "minimize 0.0 0.05 500 5000",
        "write_data relaxed.data nocoeff",
    ]
    (directory / "relax.in").write_text("\n".join(script) + "\n")
    done = run_program(
        [*lammps_program(), "-in", "relax.in", "-log", "none"],
        directory=directory,
        log="relax.log",
        environment=lammps_environment(plugin=False),
        timeout=1800,
    )
    if done.returncode != 0 or not (directory / "relaxed.data").exists():
        msg = f"the ionic pre-relaxation of a packing failed: {done.tail()}"
        raise EngineError(msg, where=str(done.log))
    relaxed = read_lammps_data(
        directory / "relaxed.data",
        atom_style="charge",
        Z_of_type=_atomic_numbers(),
        sort_by_id=True,
        units="metal",
    )
    return Atoms(atoms.get_chemical_symbols(), positions=relaxed.positions, cell=atoms.cell, pbc=True)


def _atomic_numbers() -> dict[int, int]:
    from ase.data import atomic_numbers

    return {index + 1: atomic_numbers[element] for index, element in enumerate(SPECIES)}
