"""What VASP leaves behind: the steps in vasprun.xml, and the settings that were really used."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import units
from atomate2.vasp.sets.base import VaspInputGenerator
from pymatgen.io.vasp.inputs import Incar
from pymatgen.io.vasp.outputs import Vasprun

from laoc_flows.engines.vasp_inputs import Ordered

_KBAR = 0.1 * units.GPa
_VOIGT = ((0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1))

# How the electrons are converged, how the work is shared and what is written: none of it changes the result. Every
# other tag is physics, one that is not known here included.
_FREE = frozenset(
    {
        "ALGO", "AMIN", "AMIX", "AMIX_MAG", "BMIX", "BMIX_MAG", "IALGO", "ICHARG", "IMIX", "INIWAV", "ISEARCH",
        "ISTART", "KBLOCK", "KPAR", "LASYNC", "LCHARG", "LPLANE", "LSCALAPACK", "LSCALU", "LWAVE", "MAXMIX", "NBANDS",
        "NCORE", "NELM", "NELMDL", "NELMIN", "NPAR", "NSIM", "NWRITE", "SYMPREC", "TIME", "WC",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Output:
    """The steps in a vasprun.xml, in the order of POSCAR.

    Attributes
    ----------
    symbols : list of str
        Chemical symbols.
    fractions : numpy.ndarray, shape (n_steps, n_atoms, 3)
        Wrapped fractional coordinates whose forces were computed [1].
    cells : numpy.ndarray, shape (n_steps, 3, 3)
        Cells [A].
    energies : numpy.ndarray, shape (n_steps,)
        Free energies of the electrons [eV].
    forces : numpy.ndarray, shape (n_steps, n_atoms, 3)
        Forces [eV/A].
    stresses : numpy.ndarray, shape (n_steps, 6)
        Stresses, ASE sign and order [eV/A^3].
    kinetic : numpy.ndarray, shape (n_steps,)
        Kinetic energies of the atoms [eV], not a number without dynamics.
    converged : numpy.ndarray of bool, shape (n_steps,)
        Whether the SCF of the step has converged.
    kpoints : numpy.ndarray, shape (n_kpoints, 3)
        Fractional k points [1].
    complete : bool
        Whether the file is whole.
    """

    symbols: list[str]
    fractions: np.ndarray
    cells: np.ndarray
    energies: np.ndarray
    forces: np.ndarray
    stresses: np.ndarray
    kinetic: np.ndarray
    converged: np.ndarray
    kpoints: np.ndarray
    complete: bool

    def __len__(self) -> int:
        return len(self.energies)


def read_output(directory: Path) -> Output:
    """Read the steps of a run; of a file that breaks off, those before.

    Parameters
    ----------
    directory : pathlib.Path
        Where VASP ran.

    Raises
    ------
    ValueError
        If there is no step in it, or no file.
    """
    path = directory / "vasprun.xml"
    try:
        vasprun, complete = _vasprun(path)
        nelm = vasprun.parameters["NELM"]
        n_atoms = len(vasprun.atomic_symbols)
    except Exception as error:
        msg = f"vasprun.xml cannot be read ({type(error).__name__})"
        raise ValueError(msg) from error
    steps: list[dict[str, Any]] = []
    for step in vasprun.ionic_steps:
        # The energy is the free energy F of the electrons at their smearing: the forces are its derivative, not
        # that of the energy extrapolated to zero smearing.
        if step.get("structure") is None or "e_fr_energy" not in step:
            break
        if np.shape(step.get("forces")) != (n_atoms, 3) or np.shape(step.get("stress")) != (3, 3):
            break
        steps.append(step)
    if not steps:
        msg = "vasprun.xml has no step with energy, forces and stress"
        raise ValueError(msg)
    # VASP gives the pressure tensor in kB, positive under compression.
    stresses = np.array([step["stress"] for step in steps]) * -_KBAR
    # With a barostat it is the enthalpy: P V is taken off again. PSTRESS is in kB.
    cells = np.array([step["structure"].lattice.matrix for step in steps])
    work = float(vasprun.parameters.get("PSTRESS") or 0.0) * _KBAR * np.abs(np.linalg.det(cells))
    converged = np.array([len(step["electronic_steps"]) < nelm for step in steps])
    if "hard stop was set" in _text(directory / "OUTCAR"):
        converged[-1] = False
    return Output(
        symbols=[str(symbol) for symbol in vasprun.atomic_symbols],
        fractions=np.array([step["structure"].frac_coords for step in steps]),
        cells=cells,
        energies=np.array([step["e_fr_energy"] for step in steps], dtype=np.float64) - work,
        forces=np.array([step["forces"] for step in steps], dtype=np.float64),
        stresses=stresses[:, _VOIGT[0], _VOIGT[1]],
        kinetic=np.array([step.get("kinetic", np.nan) for step in steps], dtype=np.float64),
        converged=converged,
        kpoints=np.array(vasprun.actual_kpoints, dtype=np.float64).reshape(-1, 3),
        complete=complete,
    )


def _vasprun(path: Path) -> tuple[Vasprun, bool]:
    options = {"parse_dos": False, "parse_eigen": False, "parse_potcar_file": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return Vasprun(path, **options), True
        except SyntaxError:
            return Vasprun(path, exception_on_bad_xml=False, **options), False


def changed_settings(
    ordered: Ordered, generator: VaspInputGenerator, directory: Path, *, dynamics: bool
) -> tuple[str, ...]:
    """Tags of physics that the last run did not have as they were meant.

    Parameters
    ----------
    ordered : Ordered
        Cell.
    generator : VaspInputGenerator
        What the INCAR was meant to be.
    directory : pathlib.Path
        Where VASP ran.
    dynamics : bool
        Whether stricter settings than meant are as good: they are for sampling, not for labels.

    Returns
    -------
    tuple of str
        ``"SIGMA = 0.01 for 0.05"`` for each.
    """
    generator.structure = ordered.structure()
    meant = Incar.from_str(generator.incar.get_str())
    used = Incar.from_file(directory / "INCAR")
    changed = []
    for tag in sorted({*meant, *used} - _FREE):
        before, after = meant.get(tag), used.get(tag)
        if not _equal(before, after) and not (dynamics and _stricter(tag, before, after)):
            changed.append(f"{tag} = {after} for {before}")
    return tuple(changed)


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, str) and isinstance(other, str):
        return one.lower() == other.lower()
    try:
        return bool(np.allclose(one, other, rtol=1e-9, atol=0.0))
    except (TypeError, ValueError):
        return bool(one == other)


def _stricter(tag: str, before: Any, after: Any) -> bool:
    if tag in {"EDIFF", "SIGMA"}:
        return after is not None and 0 < after < before
    return (tag, str(after).lower()) in {("LREAL", "false"), ("PREC", "accurate")}


def _text(path: Path) -> str:
    return path.read_text(errors="replace") if path.is_file() else ""
