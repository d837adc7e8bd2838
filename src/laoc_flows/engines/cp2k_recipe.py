"""What a run of CP2K is to be: its physics, how the ground state is looked for, and the constants of the dynamics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Basis = Literal["SZV-MOLOPT-SR-GTH", "DZVP-MOLOPT-SR-GTH", "TZVP-MOLOPT-PBE-GTH"]
# MOLOPT-SR exists in triple zeta for Li and Al only; the UZH family has all four elements.
BASIS_FILES: dict[str, tuple[str, str]] = {
    "SZV-MOLOPT-SR-GTH": ("BASIS_MOLOPT", "GTH_POTENTIALS"),
    "DZVP-MOLOPT-SR-GTH": ("BASIS_MOLOPT", "GTH_POTENTIALS"),
    "TZVP-MOLOPT-PBE-GTH": ("BASIS_MOLOPT_UZH", "POTENTIAL_UZH"),
}
DISPERSION_FILE = "dftd3.dat"
VALENCE = {"Li": 3, "Al": 3, "O": 6, "Cl": 7}
"""Electrons of the pseudopotentials."""


@dataclass(frozen=True)
class Physics:
    """What defines the energy of a cell; everything else only says how it is found.

    Attributes
    ----------
    functional : str
        Exchange and correlation.
    dispersion : {"none", "d3", "d3bj"}
        Pairwise dispersion.
    basis : str
        Name of the basis sets without the number of valence electrons.
    cutoff, rel_cutoff : float
        Density cutoff of the finest grid and of the Gaussians on it [Ry].
    eps_scf : float
        SCF convergence, largest gradient of OT [CP2K's units].
    eps_default : float
        Precision of integrals and of the overlap matrix.
    """

    functional: str
    dispersion: str
    basis: str
    cutoff: float
    rel_cutoff: float
    eps_scf: float
    eps_default: float

    @property
    def name(self) -> str:
        """Identity, for the level of theory."""
        return (
            f"{self.functional}/{self.dispersion}/{self.basis}/cutoff={self.cutoff:g}Ry/rel={self.rel_cutoff:g}Ry/"
            f"eps_scf={self.eps_scf:g}/eps_default={self.eps_default:g}"
        )


@dataclass(frozen=True)
class Rung:
    """One way to find the ground state of the same energy functional.

    Attributes
    ----------
    words : dict
        Keywords of ``&OT``.
    patience : int
        Factor on the inner SCF steps.
    """

    words: Mapping[str, str | float]
    patience: int


# Orbital transformation only: diagonalization of a melt asks for smearing, which is another level of theory.
LADDER = (
    Rung(
        {
            "MINIMIZER": "DIIS",
            "LINESEARCH": "2PNT",
            "PRECONDITIONER": "FULL_SINGLE_INVERSE",
            "ENERGY_GAP": 0.08,
        },
        1,
    ),
    Rung({"MINIMIZER": "CG", "LINESEARCH": "2PNT", "PRECONDITIONER": "FULL_ALL", "ENERGY_GAP": 0.05}, 2),
    Rung({"MINIMIZER": "CG", "LINESEARCH": "3PNT", "PRECONDITIONER": "FULL_ALL", "ENERGY_GAP": 0.001}, 4),
)


def ladder_words(rung: int, max_scf: int) -> dict[str, Any]:
    """What a rung says in ``&SCF``.

    Parameters
    ----------
    rung : int
        Which one, from 0.
    max_scf : int
        Inner SCF steps of the first rung.
    """
    step = LADDER[rung]
    return {"MAX_SCF": max_scf * step.patience, "OT": {"ALGORITHM": "STRICT", **step.words}}


@dataclass(frozen=True)
class Scf:
    """How the ground state is looked for.

    Attributes
    ----------
    max_scf : int
        Inner SCF steps of the first rung.
    outer_scf : int
        Restarts of the inner loop, with a new preconditioner.
    rung : int
        Rung of the ladder to begin with.
    """

    max_scf: int
    outer_scf: int
    rung: int = 0

    def section(self, eps_scf: float, guess: str) -> dict[str, Any]:
        """``&SCF`` as a mapping."""
        return {
            "EPS_SCF": eps_scf,
            "SCF_GUESS": guess,
            **ladder_words(self.rung, self.max_scf),
            "OUTER_SCF": {"EPS_SCF": eps_scf, "MAX_SCF": self.outer_scf},
            "PRINT": {"RESTART": {"BACKUP_COPIES": 0}},
        }


@dataclass(frozen=True)
class Dynamics:
    """Time constants of the dynamics.

    Attributes
    ----------
    thermostat : {"CSVR", "NOSE"}
        Kind of thermostat.
    sample_time, measure_time, barostat_time : float
        Time constants of the strong and the weak thermostat and of the barostat [fs].
    """

    thermostat: str
    sample_time: float
    measure_time: float
    barostat_time: float


@dataclass(frozen=True)
class Leg:
    """One run of CP2K within a segment.

    Attributes
    ----------
    n_steps : int
        Steps.
    temperature : float
        Target of the thermostat, constant: CP2K has no ramp [K].
    """

    n_steps: int
    temperature: float
