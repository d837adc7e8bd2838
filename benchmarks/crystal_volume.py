"""Crystalline LiAlCl4, cell and positions relaxed with every engine: what a functional makes of a known volume.

    python benchmarks/crystal_volume.py xtb chgnet sevennet
    python benchmarks/crystal_volume.py cp2k --set dispersion=d3bj
    python benchmarks/crystal_volume.py cp2k --set dispersion=d3bj --structure relaxed.extxyz
    python benchmarks/crystal_volume.py

Each engine replaces its own rows in ``crystal_volume.json``; the table in ``docs/crystal_volume.md`` is written anew
from all of them. ``--structure`` takes a cell that was relaxed elsewhere at the same settings; without an engine
only the table is written.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from ase import Atoms, units
from ase.calculators.calculator import CalculationFailed, Calculator, all_changes
from ase.filters import FrechetCellFilter
from ase.io import read, write
from ase.optimize import BFGS
from ase.spacegroup import crystal

from laoc_flows.analysis import pairs
from laoc_flows.engines.ase import AseEngine
from laoc_flows.engines.base import Engine
from laoc_flows.engines.registry import parse_engine

HERE = Path(__file__).parent
RESULTS = HERE / "crystal_volume.json"
TABLE = HERE.parent / "docs" / "crystal_volume.md"
EXPERIMENT = {"volume": 591.2, "al_al": 4.628, "a": 7.007, "b": 6.504, "c": 12.995, "beta": 93.32}
"""Mairesse, Barbier and Wignacourt 1977, COD 1004036, room temperature; lengths [A], volume [A^3], angle [degrees]."""

# Rows that no run here gives: 2552 A^3 per 96 atoms.
_PAPER = {
    "engine": "VASP, published",
    "functional": "PBE, no dispersion",
    "level_of_theory": "J. Mater. Chem. A 2025, 13, 2309",
    "volume": 638.0,
}
_FUNCTIONALS = {
    "tblite/GFN1-xTB": "GFN1-xTB, D3(BJ) in it",
    "PBE(+U)-MP": "PBE(+U) of the Materials Project, no dispersion",
    "cp2k/PBE/d3bj": "PBE-D3(BJ)",
    "cp2k/PBE/none": "PBE, no dispersion",
    "r2SCAN-MP": "r2SCAN of the Materials Project, no dispersion",
}
_COLUMNS = ("a", "b", "c")
_FMAX, _STEPS = 0.002, 500
_DISPLACEMENT = 0.01
"""Of the finite differences of the Hessian [A]."""
_SOFTEST = 0.2
"""Least curvature that BFGS begins with: softer modes of another potential are no guide [eV/A^2]."""


def lialcl4() -> Atoms:
    """Unit cell of LiAlCl4, P2_1/c (Mairesse 1977, COD 1004036): 24 atoms."""
    return crystal(
        ["Li", "Al", "Cl", "Cl", "Cl", "Cl"],
        [
            (0.15688, 0.98308, 0.36658),
            (0.70588, 0.32198, 0.89924),
            (0.69400, 0.18329, 0.04695),
            (0.80902, 0.62835, 0.92849),
            (0.92580, 0.18160, 0.81372),
            (0.43947, 0.31364, 0.81280),
        ],
        spacegroup=14,
        cellpar=[7.007, 6.504, 12.995, 90, 93.32, 90],
    )


class EngineCalculator(Calculator):
    """Single points of any engine as an ASE calculator, each in a directory of its own.

    Parameters
    ----------
    engine : Engine
        Who computes.
    """

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, engine: Engine) -> None:
        super().__init__()
        self._engine = engine

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: Sequence[str] | None = None,
        system_changes: Sequence[str] = all_changes,
    ) -> None:
        """Compute energy [eV], forces [eV/A] and stress [eV/A^3]; a failed single point is an error here."""
        super().calculate(atoms, properties, system_changes)
        with tempfile.TemporaryDirectory() as directory:
            (point,) = self._engine.single_points([self.atoms], Path(directory))
        if point.energy is None:
            raise CalculationFailed(point.reason)
        self.results = {"energy": point.energy, "forces": point.forces, "stress": point.stress}


def calculator_of(engine: Engine) -> Calculator:
    """An engine's own calculator if it is one, or its single points."""
    return engine.calculator() if isinstance(engine, AseEngine) else EngineCalculator(engine)


def hessian(atoms: Atoms, calculator: Calculator) -> np.ndarray:
    """Hessian of positions and cell by finite differences, made positive definite.

    Parameters
    ----------
    atoms : ase.Atoms
        Where.
    calculator : ase Calculator
        A potential that is cheap: two evaluations for each of its 3 n_atoms + 9 coordinates.

    Returns
    -------
    numpy.ndarray, shape (3 n_atoms + 9, 3 n_atoms + 9)
        In the coordinates of `FrechetCellFilter` [eV/A^2].
    """
    atoms = atoms.copy()
    atoms.calc = calculator
    cell = FrechetCellFilter(atoms)
    start = cell.get_positions()
    rows = []
    for index in range(start.size):
        shift = np.zeros(start.size)
        shift[index] = _DISPLACEMENT
        sides = []
        for sign in (1, -1):
            cell.set_positions(start + sign * shift.reshape(start.shape))
            sides.append(cell.get_forces().ravel())
        rows.append((sides[1] - sides[0]) / (2 * _DISPLACEMENT))
    matrix = np.array(rows)
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return (vectors * np.maximum(np.abs(values), _SOFTEST)) @ vectors.T


def relaxed(
    atoms: Atoms, calculator: Calculator, guide: Calculator | None = None, logfile: str | None = None
) -> tuple[Atoms, dict[str, float]]:
    """Relax cell and positions.

    Parameters
    ----------
    atoms : ase.Atoms
        Start.
    calculator : ase Calculator
        Who computes.
    guide : ase Calculator, optional
        A cheap potential whose Hessian BFGS begins with: a step of DFT costs minutes, and the stiff and the soft
        modes are about the same. Where the relaxation ends does not depend on it.
    logfile : str, optional
        Where each step leaves a line, '-' for the terminal.

    Returns
    -------
    atoms : ase.Atoms
        Relaxed cell.
    numbers : dict
        Steps, largest force [eV/A], pressure [GPa] and wall time [s].
    """
    atoms = atoms.copy()
    atoms.calc = calculator
    started = time.perf_counter()
    optimizer = BFGS(FrechetCellFilter(atoms), logfile=logfile, maxstep=0.1 if guide is None else 0.15)
    if guide is not None:
        optimizer.H0 = hessian(atoms, guide)
    if not optimizer.run(fmax=_FMAX, steps=_STEPS):
        print(f"  not below {_FMAX} eV/A after {_STEPS} steps")
    return atoms, {
        "steps": optimizer.nsteps,
        **rest_of(atoms),
        "seconds": time.perf_counter() - started,
    }


def rest_of(atoms: Atoms) -> dict[str, float]:
    """Largest force component [eV/A] and pressure [GPa] that are left."""
    return {
        "max_force": float(np.abs(atoms.get_forces()).max()),
        "pressure": float(-atoms.get_stress()[:3].mean() / units.GPa),
    }


def shape(atoms: Atoms) -> dict[str, float]:
    """Volume [A^3], edges [A], monoclinic angle [degrees] and shortest Al-Al distance [A]."""
    a, b, c, _, beta, _ = (float(value) for value in atoms.cell.cellpar())
    al_al = float(pairs(atoms, "Al", "Al", 7.0).distance.min())
    return {"volume": float(atoms.get_volume()), "al_al": al_al, "a": a, "b": b, "c": c, "beta": beta}


def functional_of(level_of_theory: str, named: str | None) -> str:
    """Functional in words."""
    known = [text for key, text in _FUNCTIONALS.items() if key in level_of_theory]
    return named or (known[0] if known else level_of_theory)


def table(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """The page of the documentation.

    Parameters
    ----------
    rows : mapping
        Results by level of theory.
    """
    experiment = {
        "engine": "experiment",
        "functional": "X-ray, room temperature",
        "level_of_theory": "COD 1004036",
    }
    lines = [
        "# Volume of crystalline LiAlCl4 by engine",
        "",
        "What an engine makes of a crystal that is known tells what its glasses will weigh. The unit cell of LiAlCl4",
        "(P2₁/c, four formula units), cell and positions relaxed from the experimental structure at 0 K and no",
        "pressure, until no force (the cell's share included) is above 0.002 eV/Å, but for CP2K (see below). The experiment",
        "is at room temperature.",
        "",
        "| engine | functional | volume [Å³] | deviation | shortest Al-Al [Å] | a [Å] | b [Å] | c [Å] | β [°] | level of theory |",
        "|---|---|---|---|---|---|---|---|---|---|",
        _line({**experiment, **EXPERIMENT}),
        _line(_PAPER),
        *(_line(row) for _, row in sorted(rows.items(), key=lambda item: item[1]["volume"])),
        "",
        "AlCl4 tetrahedra hold together by Li and by dispersion, and the energy is flat along the directions that part",
        "them. PBE without dispersion makes the crystal too large, and its glasses inherit that. Universal potentials",
        "trained on PBE go further than PBE itself, each to an extent of its own: in CHGNet 0.3.0 and 7net-0 the energy",
        "falls all the way from the experimental structure, most of it along b. GFN1-xTB is too dense.",
        "",
        "CP2K's rows are of the engine's own settings (DZVP, 500 Ry) at the Γ point of this cell. With D3(BJ) the energy has its",
        "minimum at 546 Å³; below 0.03 eV/Å the grid, which changes with the cell, moves forces and energies more than the",
        "relaxation does (some meV of the cell). Without dispersion no minimum was found: begun at 676 Å³, the energy fell",
        "at each of 38 steps, the last by 5 meV of the cell, while b grew from 7.5 to 9.5 Å. The row, marked with †, is where",
        "it was stopped, not an equilibrium volume.",
        "",
        "A density that comes from a pressure (`ensemble: npt`, `equilibrate`) is the engine's own. Where the row of",
        "the reference is far from the experiment, melt and quench at the volume of the packing (`nvt`), or take another",
        "engine. Labels of different functionals never meet in one training set.",
        "",
        "Written by `benchmarks/crystal_volume.py`; `python benchmarks/crystal_volume.py NAME` adds an engine.",
    ]
    return "\n".join(lines) + "\n"


def _line(row: Mapping[str, Any]) -> str:
    deviation = 100.0 * (row["volume"] / EXPERIMENT["volume"] - 1.0)
    cells = [
        row["engine"],
        row["functional"],
        f"{'≥ ' if row.get('falls') else ''}{row['volume']:.1f}{' †' if row.get('falls') else ''}",
        f"{deviation:+.1f} %",
        _shown(row, "al_al", 2),
        *(_shown(row, name, 3) for name in _COLUMNS),
        _shown(row, "beta", 2),
        f"`{row['level_of_theory']}`" if row["level_of_theory"].count("/") else row["level_of_theory"],
    ]
    return f"| {' | '.join(cells)} |"


def _shown(row: Mapping[str, Any], name: str, digits: int) -> str:
    return f"{row[name]:.{digits}f}" if name in row else "-"


def main(arguments: Sequence[str] | None = None) -> None:
    """Relax with the engines that are named, and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("engines", nargs="*", help="names in the registry: xtb, chgnet, sevennet, cp2k, ...")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="setting of the engines"
    )
    parser.add_argument("--functional", help="functional in words, where the script does not know it")
    parser.add_argument("--structure", type=Path, help="cell that was relaxed elsewhere at these settings")
    parser.add_argument(
        "--falls", action="store_true", help="the energy of --structure was still falling: it is no minimum"
    )
    parser.add_argument("--keep", type=Path, help="where to write the relaxed cell")
    options = parser.parse_args(arguments)
    settings = {key: yaml.safe_load(value) for key, _, value in (item.partition("=") for item in options.set)}
    rows = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for name in options.engines:
        engine = parse_engine({"name": name, **settings})
        engine.check_available()
        print(f"{name}: {engine.level_of_theory}", flush=True)
        if options.structure is not None:
            # Wherever it was relaxed: what is left is what the engine itself says.
            atoms = read(options.structure)
            atoms.calc = calculator_of(engine)
            numbers = rest_of(atoms)
        else:
            cheap = isinstance(engine, AseEngine)
            guide = None if cheap else calculator_of(parse_engine({"name": "chgnet"}))
            atoms, numbers = relaxed(lialcl4(), calculator_of(engine), guide, logfile=None if cheap else "-")
        level = engine.level_of_theory
        functional = functional_of(level, options.functional)
        rows[level] = {
            "engine": name,
            "functional": functional,
            "level_of_theory": level,
            **shape(atoms),
            **numbers,
            **({"falls": True} if options.falls else {}),
            "cell": atoms.cell.array.round(8).tolist(),
            "positions": atoms.positions.round(8).tolist(),
        }
        if options.keep is not None:
            write(options.keep, Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell, pbc=True))
        print(f"  {_line(rows[level])}", flush=True)
        # A line for each row: cells of 24 atoms would fill pages otherwise.
        lines = [f"{json.dumps(key)}: {json.dumps(row)}" for key, row in sorted(rows.items())]
        RESULTS.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    TABLE.write_text(table(rows))
    print(table(rows))


if __name__ == "__main__":
    main()
