"""Inputs of CP2K: one physics for every run, and a ladder of ways to converge to it.

The inputs are built as pymatgen's ``Cp2kInput``. atomate2's ``StaticMaker`` and ``MDMaker`` and pymatgen's ``DftSet``
beneath them were tried and are not used; `laoc_flows.engines.cp2k_runs` tells the same of custodian. What is wrong
upstream, and is held by a test that fails when it is mended:

* ``Cp2kInput.from_file``, through which custodian edits an input, groups the atoms by species and swaps the first two
  of each, and turns velocities into keywords: after any correction the forces belong to other atoms. Coordinates and
  velocities therefore live in files of their own that no editor reads (``&TOPOLOGY``, ``@INCLUDE`` is expanded).
* ``MDMaker`` writes its thermostat as a bare str where a ``Keyword`` is needed and fails when the input is written.
* atomate2's generators change the defaults they share in the module: the settings of one set leak into the next.
* ``StaticMaker`` raises when a label does not converge, where a typed outcome is wanted, and fetches its basis sets
  from files that ``pmg config --cp2k`` writes into the user's home.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ase import Atoms
from ase.data import atomic_masses, atomic_numbers

from laoc_flows.engines.cp2k_recipe import BASIS_FILES, DISPERSION_FILE, VALENCE, Dynamics, Leg, Physics, Scf
from laoc_flows.engines.dynamics import Segment

if TYPE_CHECKING:
    from pymatgen.io.cp2k.inputs import Cp2kInput

INPUT_FILE = "cp2k.inp"
POSITIONS_FILE = "start.xyz"
RESTART_FILE = "start.restart"


def single_point_input(
    atoms: Atoms, physics: Physics, scf: Scf, *, data_dir: Path, project: str, walltime: float
) -> Cp2kInput:
    """Input of energy, forces and stress.

    Parameters
    ----------
    atoms : ase.Atoms
        Periodic cell; its positions go into `POSITIONS_FILE`.
    physics : Physics
        Level of theory.
    scf : Scf
        How to converge.
    data_dir : pathlib.Path
        CP2K's basis sets and potentials.
    project : str
        Prefix of the output files.
    walltime : float
        Time after which CP2K is to stop [s].
    """
    return _input(
        {
            "GLOBAL": _global(project, "ENERGY_FORCE", walltime),
            "FORCE_EVAL": _force_eval(physics, scf.section(physics.eps_scf, "ATOMIC"), data_dir),
        },
        atoms,
        physics,
    )


def motion_input(
    atoms: Atoms,
    segment: Segment,
    leg: Leg,
    physics: Physics,
    scf: Scf,
    dynamics: Dynamics,
    *,
    data_dir: Path,
    project: str,
    walltime: float,
    wavefunction: str = "",
) -> Cp2kInput:
    """Input of a stretch of dynamics at one temperature, or of a relaxation.

    Every step writes its frame and a restart file: whatever stops the run, the state before is there.

    Parameters
    ----------
    atoms : ase.Atoms
        Cell and species; positions and velocities come from `RESTART_FILE` for dynamics.
    segment : Segment
        Ensemble, pressure, time step and strength of the thermostat.
    leg : Leg
        Steps and temperature.
    physics : Physics
        Level of theory.
    scf : Scf
        How to converge.
    dynamics : Dynamics
        Time constants.
    data_dir : pathlib.Path
        CP2K's basis sets and potentials.
    project : str
        Prefix of the output files.
    walltime : float
        Time after which CP2K is to stop [s].
    wavefunction : str
        Restart file of the wavefunction, empty to begin from atoms.
    """
    relax = segment.ensemble == "relax"
    motion: dict[str, Any] = {"PRINT": _motion_print(segment.ensemble)}
    tree: dict[str, Any] = {
        "GLOBAL": _global(project, "GEO_OPT" if relax else "MD", walltime),
        "MOTION": motion,
    }
    if relax:
        motion["GEO_OPT"] = {"OPTIMIZER": "BFGS", "MAX_ITER": leg.n_steps}
    else:
        motion["MD"] = _md(segment, dynamics, leg)
        # Whatever random numbers CP2K draws by itself; the thermostat's come with the restart file.
        tree["GLOBAL"]["SEED"] = segment.seed % 2**31
        tree["EXT_RESTART"] = restart_words(RESTART_FILE, segment.ensemble)
    scf_section = scf.section(physics.eps_scf, "RESTART" if wavefunction else "ATOMIC")
    tree["FORCE_EVAL"] = _force_eval(physics, scf_section, data_dir)
    if wavefunction:
        tree["FORCE_EVAL"]["DFT"]["WFN_RESTART_FILE_NAME"] = wavefunction
    return _input(tree, atoms, physics)


def restart_words(name: str, ensemble: str) -> dict[str, Any]:
    """``&EXT_RESTART`` that takes the state of the atoms and its thermostats, and nothing else, from a file.

    Parameters
    ----------
    name : str
        Restart file.
    ensemble : {"relax", "nvt", "npt"}
        What goes on.
    """
    parts = {
        "relax": ("POS",),
        "nvt": ("POS", "VEL", "CELL", "THERMOSTAT"),
        "npt": ("POS", "VEL", "CELL", "THERMOSTAT", "BAROSTAT", "BAROSTAT_THERMOSTAT"),
    }[ensemble]
    return {
        "RESTART_FILE_NAME": name,
        "RESTART_DEFAULT": False,
        **{f"RESTART_{part}": True for part in parts},
    }


def physics_of(text: str) -> dict[str, Any]:
    """What an input says of the physics: to compare before and after custodian.

    Parameters
    ----------
    text : str
        An input of CP2K.

    Returns
    -------
    dict
        Nested sections of ``&FORCE_EVAL``, upper case, values as text; without the cell, the output and the way
        the SCF takes.
    """
    from pymatgen.io.cp2k.inputs import Cp2kInput

    tree = _tree(Cp2kInput.from_str(text).get_section("FORCE_EVAL"))
    for section in ("CELL", "TOPOLOGY", "COORD", "VELOCITY"):
        tree.get("SUBSYS", {}).pop(section, None)
    dft = tree.get("DFT", {})
    dft.pop("WFN_RESTART_FILE_NAME", None)
    scf = dft.get("SCF", {})
    for path in ("MAX_SCF", "SCF_GUESS", "OT", "PRINT"):
        scf.pop(path, None)
    scf.get("OUTER_SCF", {}).pop("MAX_SCF", None)
    tree.pop("PRINT", None)
    return tree


def _tree(section: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        # A keyword that stands more than once, as the lines of coordinates do, is a list of keywords.
        str(name).upper(): " ".join(
            _plain(word) for each in getattr(keyword, "keywords", [keyword]) for word in each.values
        )
        for name, keyword in section.keywords.items()
    }
    for name, child in section.subsections.items():
        found[str(name).upper()] = _tree(child)
    return found


def _plain(word: Any) -> str:
    return f"{word:g}" if isinstance(word, float | int) and not isinstance(word, bool) else str(word).upper()


def _global(project: str, run_type: str, walltime: float) -> dict[str, Any]:
    return {
        "PROJECT_NAME": project,
        "RUN_TYPE": run_type,
        "PRINT_LEVEL": "MEDIUM",
        "WALLTIME": round(walltime),
    }


def _force_eval(physics: Physics, scf: Mapping[str, Any], data_dir: Path) -> dict[str, Any]:
    basis, potential = BASIS_FILES[physics.basis]
    exchange: dict[str, Any] = {"XC_FUNCTIONAL": {physics.functional: {}}}
    if physics.dispersion != "none":
        exchange["VDW_POTENTIAL"] = {
            "POTENTIAL_TYPE": "PAIR_POTENTIAL",
            "PAIR_POTENTIAL": {
                "TYPE": {"d3": "DFTD3", "d3bj": "DFTD3(BJ)"}[physics.dispersion],
                "PARAMETER_FILE_NAME": str(data_dir / DISPERSION_FILE),
                "REFERENCE_FUNCTIONAL": physics.functional,
            },
        }
    return {
        "METHOD": "QS",
        "STRESS_TENSOR": "ANALYTICAL",
        "DFT": {
            "BASIS_SET_FILE_NAME": str(data_dir / basis),
            "POTENTIAL_FILE_NAME": str(data_dir / potential),
            "QS": {"METHOD": "GPW", "EPS_DEFAULT": physics.eps_default},
            "MGRID": {"CUTOFF": physics.cutoff, "REL_CUTOFF": physics.rel_cutoff},
            "SCF": dict(scf),
            "XC": exchange,
        },
        "PRINT": {"FORCES": {"NDIGITS": 12}, "STRESS_TENSOR": {}},
    }


def _motion_print(ensemble: str) -> dict[str, Any]:
    step = "GEO_OPT" if ensemble == "relax" else "MD"
    each = {"EACH": {step: 1}}
    section: dict[str, Any] = {
        "TRAJECTORY": {"FORMAT": "XYZ", **each},
        "FORCES": {"FORMAT": "XYZ", **each},
        "STRESS": dict(each),
        "CELL": dict(each),
        "RESTART": {"BACKUP_COPIES": 0, **each},
        "RESTART_HISTORY": dict(each),
    }
    if step == "MD":
        # Angstrom per ps: ten decimals of the default, atomic units, are six digits of a velocity.
        section["VELOCITIES"] = {"FORMAT": "XYZ", "UNIT": "angstrom*ps^-1", **each}
    return section


def _md(segment: Segment, dynamics: Dynamics, leg: Leg) -> dict[str, Any]:
    time = dynamics.sample_time if segment.thermostat == "sample" else dynamics.measure_time
    thermostat = {"TYPE": dynamics.thermostat, "REGION": "GLOBAL", dynamics.thermostat: {"TIMECON": time}}
    section: dict[str, Any] = {
        "ENSEMBLE": "NVT" if segment.ensemble == "nvt" else "NPT_I",
        "STEPS": leg.n_steps,
        "TIMESTEP": segment.time_step,
        "TEMPERATURE": leg.temperature,
        "THERMOSTAT": thermostat,
    }
    if segment.ensemble == "npt":
        # CP2K's own unit is bar.
        section["BAROSTAT"] = {
            "PRESSURE": segment.pressure * 1e4,
            "TIMECON": dynamics.barostat_time,
            "THERMOSTAT": {
                "TYPE": dynamics.thermostat,
                dynamics.thermostat: {"TIMECON": dynamics.barostat_time},
            },
        }
    return section


def _input(tree: Mapping[str, Any], atoms: Atoms, physics: Physics) -> Cp2kInput:
    from pymatgen.io.cp2k.inputs import Cp2kInput, Keyword, Section

    found = Cp2kInput("CP2K_INPUT", subsections={})
    found.update(dict(tree))
    system = Section("SUBSYS", subsections={})
    axes = zip("ABC", atoms.cell.tolist(), strict=True)
    system.insert(Section("CELL", keywords={axis: Keyword(axis, *vector) for axis, vector in axes}))
    topology = {"COORD_FILE_FORMAT": "XYZ", "COORD_FILE_NAME": POSITIONS_FILE}
    system.insert(
        Section("TOPOLOGY", keywords={word: Keyword(word, value) for word, value in topology.items()})
    )
    for element in dict.fromkeys(atoms.get_chemical_symbols()):
        electrons = VALENCE[element]
        words = {
            "BASIS_SET": f"{physics.basis}-q{electrons}",
            "POTENTIAL": f"GTH-{physics.functional}-q{electrons}",
            # CP2K's own differ in the fourth digit: momenta and temperatures are to mean the same everywhere.
            "MASS": float(atomic_masses[atomic_numbers[element]]),
        }
        system.insert(
            Section(
                "KIND",
                section_parameters=[element],
                alias=f"KIND {element}",
                keywords={word: Keyword(word, value) for word, value in words.items()},
            )
        )
    found["FORCE_EVAL"].insert(system)
    return found
