"""What VASP is given: INCAR, KPOINTS, POSCAR, POTCAR, as atomate2's Makers write them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms, units
from atomate2.vasp.jobs.base import BaseVaspMaker
from atomate2.vasp.jobs.core import RelaxMaker, StaticMaker
from atomate2.vasp.jobs.md import MDMaker
from atomate2.vasp.sets.base import VaspInputGenerator
from atomate2.vasp.sets.core import MDSetGenerator, RelaxConstVolSetGenerator, StaticSetGenerator
from pymatgen.core import Structure
from pymatgen.io.vasp.inputs import Kpoints

from laoc_flows.engines.dynamics import Segment
from laoc_flows.schemas.base import SPECIES

if TYPE_CHECKING:
    from laoc_flows.engines.vasp import VaspEngine

KBAR_PER_GPA = 10.0
LANGEVIN = 3
"""MDALGO of VASP's Langevin dynamics, the only one that conserves no momentum."""

_SEEDS = 900_000_000
_RELAX_FORCE = 0.05


@dataclass(frozen=True)
class Ordered:
    """A cell in the species order of its POTCAR, and the way back.

    Attributes
    ----------
    atoms : ase.Atoms
        Cell in its own order.
    order : numpy.ndarray of int, shape (n_atoms,)
        Atom i of POSCAR is atom ``order[i]`` of the cell.
    """

    atoms: Atoms
    order: np.ndarray

    @classmethod
    def of(cls, atoms: Atoms) -> Ordered:
        """Sort a cell by species, equal ones in the order they have."""
        ranks = [SPECIES.index(symbol) for symbol in atoms.get_chemical_symbols()]
        return cls(atoms, np.argsort(ranks, kind="stable"))

    @property
    def symbols(self) -> list[str]:
        """Chemical symbols in the order of POSCAR."""
        symbols = self.atoms.get_chemical_symbols()
        return [symbols[i] for i in self.order]

    @property
    def fractions(self) -> np.ndarray:
        """Fractional coordinates in the order of POSCAR, not wrapped, shape (n_atoms, 3) [1]."""
        return np.asarray(self.atoms.get_scaled_positions(wrap=False)[self.order])

    def back(self, values: np.ndarray) -> np.ndarray:
        """Values of the atoms of POSCAR in the order of the cell.

        Parameters
        ----------
        values : numpy.ndarray, shape (n_atoms, ...)
            One row for each atom of POSCAR.
        """
        found = np.empty_like(values)
        found[self.order] = values
        return found

    def structure(self, *, velocities: bool = False) -> Structure:
        """Structure in the order of POSCAR.

        Parameters
        ----------
        velocities : bool
            Whether it has the velocities [A/fs], left out where every atom is at rest: VASP draws them then.
        """
        properties: dict[str, Any] = {}
        momenta = self.atoms.get_momenta()
        if velocities and momenta.any():
            speeds = self.atoms.get_velocities()[self.order] * units.fs
            properties["velocities"] = speeds.tolist()
        return Structure(
            self.atoms.cell.array,
            self.symbols,
            self.fractions,
            to_unit_cell=False,
            site_properties=properties,
        )


def label_incar(engine: VaspEngine) -> dict[str, Any]:
    """INCAR of every label.

    Parameters
    ----------
    engine : VaspEngine
        Settings.
    """
    return {
        **_common(engine),
        "ALGO": "Normal",
        "EDIFF": engine.ediff,
        "ENCUT": engine.encut,
        "IBRION": -1,
        # Without ISIF >= 2 there is no stress.
        "ISIF": 2,
        "LREAL": False,
        "NELM": 120,
        "NSW": 0,
        "PREC": "Accurate",
    }


def relax_incar(engine: VaspEngine, segment: Segment) -> dict[str, Any]:
    """INCAR of a relaxation of the positions at constant cell.

    Parameters
    ----------
    engine : VaspEngine
        Settings.
    segment : Segment
        Its number of steps is a limit.
    """
    return {
        **_cheap(engine),
        "EDIFFG": -_RELAX_FORCE,
        "IBRION": 2,
        "ISIF": 2,
        "NSW": segment.n_steps,
        # A packing starts far from a minimum: short trial steps.
        "POTIM": 0.2,
    }


def dynamics_incar(engine: VaspEngine, segment: Segment, n_species: int) -> dict[str, Any]:
    """INCAR of a segment of dynamics.

    Parameters
    ----------
    engine : VaspEngine
        Settings.
    segment : Segment
        What to run.
    n_species : int
        Number of species in the cell; each has its friction.
    """
    incar = {
        **_cheap(engine),
        "IBRION": 0,
        "ISIF": 3 if segment.ensemble == "npt" else 2,
        "KBLOCK": 1000,
        "MAXMIX": 40,
        "NBLOCK": 1,
        "NELMIN": 4,
        "NSW": segment.n_steps,
        "POTIM": segment.time_step,
        "RANDOM_SEED": [segment.seed % _SEEDS, 0, 0],
        "TEBEG": segment.start_temperature,
        "TEEND": segment.end_temperature,
    }
    if segment.ensemble == "npt":
        return {
            **incar,
            "MDALGO": LANGEVIN,
            "LANGEVIN_GAMMA": [engine.langevin_gamma] * n_species,
            "LANGEVIN_GAMMA_L": engine.barostat_gamma,
            "PMASS": engine.barostat_mass,
            "PSTRESS": segment.pressure * KBAR_PER_GPA,
        }
    if engine.thermostat == "langevin" and segment.thermostat == "sample":
        return {**incar, "MDALGO": LANGEVIN, "LANGEVIN_GAMMA": [engine.langevin_gamma] * n_species}
    # Nose: one global, deterministic variable that hardly touches the dynamics. MDALGO = 0 and not 2, because only
    # its CONTCAR holds the thermostat, in the predictor-corrector block, so that a segment carries on exactly where
    # the last one ended; with MDALGO = 2 the thermostat would start at rest in every segment. SMASS = 0: a period
    # of 40 steps.
    return {**incar, "MDALGO": 0, "SMASS": 0.0}


def static_maker(engine: VaspEngine) -> BaseVaspMaker:
    """Maker of one label; atomate2's Makers change themselves, so that each run needs a new one.

    Parameters
    ----------
    engine : VaspEngine
        Settings.
    """
    return StaticMaker(input_set_generator=_generator(StaticSetGenerator, engine, label_incar(engine)))


def relax_maker(engine: VaspEngine, segment: Segment) -> BaseVaspMaker:
    """Maker of one relaxation.

    Parameters
    ----------
    engine : VaspEngine
        Settings.
    segment : Segment
        Its number of steps is a limit.
    """
    incar = relax_incar(engine, segment)
    return RelaxMaker(input_set_generator=_generator(RelaxConstVolSetGenerator, engine, incar))


def dynamics_maker(
    engine: VaspEngine, segment: Segment, ordered: Ordered, restart: bytes, path: Path
) -> BaseVaspMaker:
    """Maker of one segment of dynamics.

    Parameters
    ----------
    engine : VaspEngine
        Settings.
    segment : Segment
        What to run.
    ordered : Ordered
        Start.
    restart : bytes
        CONTCAR of the segment before, which becomes POSCAR as it is; empty to start from positions and velocities.
    path : pathlib.Path
        Where the restart file is put.
    """
    incar = dynamics_incar(engine, segment, len(set(ordered.symbols)))
    maker = MDMaker(input_set_generator=_generator(MDSetGenerator, engine, incar))
    if restart:
        path.write_bytes(restart)
        # Read and written again it would lose digits; it is put in the place of the POSCAR that atomate2 writes.
        maker.write_input_set_kwargs["files_to_transfer"] = {"POSCAR": str(path.absolute())}
    return maker


def _common(engine: VaspEngine) -> dict[str, Any]:
    incar: dict[str, Any] = {
        "GGA": "PE",
        "ISMEAR": 0,
        "ISPIN": 1,
        "ISYM": 0,
        "LCHARG": False,
        "LWAVE": False,
        "SIGMA": 0.05,
    }
    if engine.d3:
        incar["IVDW"] = 12
    if engine.ncore is not None:
        incar["NCORE"] = engine.ncore
    if engine.kpar is not None:
        incar["KPAR"] = engine.kpar
    return incar


def _cheap(engine: VaspEngine) -> dict[str, Any]:
    return {
        **_common(engine),
        "ALGO": "Fast",
        "EDIFF": engine.md_ediff,
        "ENCUT": engine.md_encut,
        "LREAL": "Auto",
        "NELM": 100,
        "PREC": "Normal",
    }


def _generator(
    cls: type[VaspInputGenerator], engine: VaspEngine, incar: dict[str, Any]
) -> VaspInputGenerator:
    # Whatever the set would add is taken out again: the INCAR is the one above and nothing else.
    unset = dict.fromkeys(("ANDERSEN_PROB", "LAECHG", "LELF", "LORBIT", "LVHAR", "LVTOT", "MAGMOM", "SMASS"))
    config = {
        "INCAR": {},
        "KPOINTS": {},
        "POTCAR": dict(engine.potcar),
        "POTCAR_FUNCTIONAL": engine.potcar_functional,
    }
    return cls(
        config_dict=config,
        user_incar_settings={**unset, **incar},
        user_kpoints_settings=Kpoints(),
        sort_structure=False,
        validate_magmom=False,
        auto_ismear=False,
        auto_ispin=False,
        inherit_incar=False,
    )
