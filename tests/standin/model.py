"""What the stand-in computes: an ionic pair model with analytic forces and stress, or GFN1-xTB."""

from __future__ import annotations

import os
from dataclasses import dataclass
from math import erfc, pi, sqrt

import numpy as np

COULOMB = 14.399645  # e^2 / (4 pi eps_0) [eV A]
CHARGE = {"Li": 0.7, "Al": 2.1, "O": -1.4, "Cl": -0.7}
ATOM_ENERGY = {"Li": -1.6, "Al": -2.6, "O": -3.8, "Cl": -2.2}
# Where a lone pair of opposite charges rests, and below where equal charges do not come [A].
BOND = {("Al", "Cl"): 1.97, ("Al", "O"): 1.62, ("Cl", "Li"): 2.19, ("Li", "O"): 1.77}
CORE = {
    ("Li", "Li"): 2.2,
    ("Al", "Li"): 2.4,
    ("Al", "Al"): 2.6,
    ("O", "O"): 2.7,
    ("Cl", "O"): 2.9,
    ("Cl", "Cl"): 3.2,
}
CORE_ENERGY = 0.3  # of equal charges at that distance [eV]
POLARIZABILITY = {"Li": 0.2, "Al": 0.5, "O": 1.5, "Cl": 2.5}
DISPERSION = 6.0  # C6 of two unit polarizabilities [eV A^6]
DISPERSION_RADIUS = 3.0  # damping as in Becke and Johnson's [A]

CUTOFF = 6.5  # [A]
SWITCH_FROM = 4.8  # [A]
DAMPING = 0.25  # of the Coulomb term, 1/A


@dataclass(frozen=True)
class Result:
    """Energy [eV], forces [eV/A] and virial -dE/d(strain) [eV] of a cell, and its dispersion energy [eV]."""

    energy: float
    forces: np.ndarray
    virial: np.ndarray
    dispersion: float


def _tables(species: list[str], dispersion: bool) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    n = len(species)
    charge, repulsion, c6 = np.zeros((n, n)), np.zeros((n, n)), np.zeros((n, n))
    for i, a in enumerate(species):
        for j, b in enumerate(species):
            pair = (min(a, b), max(a, b))
            charge[i, j] = COULOMB * CHARGE[a] * CHARGE[b]
            if pair in BOND:
                repulsion[i, j] = -charge[i, j] * BOND[pair] ** 8 / 9.0
            else:
                repulsion[i, j] = CORE_ENERGY * CORE[pair] ** 9
            if dispersion:
                c6[i, j] = DISPERSION * POLARIZABILITY[a] * POLARIZABILITY[b]
    return charge, repulsion, c6


def _erfc(x: np.ndarray) -> np.ndarray:
    # scipy's takes longer to import than the whole calculation.
    return np.array([erfc(value) for value in x])


def _switch(r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x = np.clip((r - SWITCH_FROM) / (CUTOFF - SWITCH_FROM), 0.0, 1.0)
    value = 1.0 - x**3 * (10.0 - 15.0 * x + 6.0 * x * x)
    slope = -30.0 * x * x * (1.0 - x) ** 2 / (CUTOFF - SWITCH_FROM)
    return value, slope


def _pairs(positions: np.ndarray, cell: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # Each pair once, all images within the cutoff, any cell: lattice planes decide how many images there are.
    heights = 1.0 / np.linalg.norm(np.linalg.inv(cell), axis=0)
    fractional = positions @ np.linalg.inv(cell)
    wrapped = positions - np.floor(fractional) @ cell
    reach = [range(-int(CUTOFF / h) - 1, int(CUTOFF / h) + 2) for h in heights]
    first, second, vectors = [], [], []
    separation = wrapped[None, :, :] - wrapped[:, None, :]
    upper = np.triu(np.ones((len(positions), len(positions)), dtype=bool), 1)
    for a in reach[0]:
        for b in reach[1]:
            for c in reach[2]:
                if (a, b, c) < (0, 0, 0):
                    continue
                shifted = separation + np.array([a, b, c]) @ cell
                near = np.einsum("ijk,ijk->ij", shifted, shifted) < CUTOFF**2
                if (a, b, c) == (0, 0, 0):
                    near &= upper
                i, j = np.nonzero(near)
                first.append(i)
                second.append(j)
                vectors.append(shifted[i, j])
    return np.concatenate(first), np.concatenate(second), np.concatenate(vectors)


def pair_model(symbols: list[str], positions: np.ndarray, cell: np.ndarray, *, dispersion: bool) -> Result:
    """Damped Coulomb, r^-9 repulsion and, if asked for, -C6/r^6, all switched off smoothly at the cutoff."""
    species = sorted(set(symbols))
    kind = np.array([species.index(symbol) for symbol in symbols])
    charge, repulsion, c6 = _tables(species, dispersion)
    i, j, vector = _pairs(positions, cell)
    r = np.linalg.norm(vector, axis=1)
    q, b, c = (table[kind[i], kind[j]] for table in (charge, repulsion, c6))
    screened = _erfc(DAMPING * r) / r
    attraction = c / (r**6 + DISPERSION_RADIUS**6)
    value = q * screened + b / r**9 - attraction
    slope = (
        -q * (screened + 2.0 * DAMPING / sqrt(pi) * np.exp(-((DAMPING * r) ** 2))) / r
        - 9.0 * b / r**10
        + attraction * 6.0 * r**5 / (r**6 + DISPERSION_RADIUS**6)
    )
    switch, switch_slope = _switch(r)
    radial = -(slope * switch + value * switch_slope)
    pair_force = (radial / r)[:, None] * vector
    forces = np.zeros_like(positions)
    np.add.at(forces, j, pair_force)
    np.add.at(forces, i, -pair_force)
    own = sum(ATOM_ENERGY[s] - COULOMB * DAMPING / sqrt(pi) * CHARGE[s] ** 2 for s in symbols)
    return Result(
        energy=float((value * switch).sum() + own),
        forces=forces,
        virial=vector.T @ pair_force,
        dispersion=-float((attraction * switch).sum()),
    )


class Xtb:
    """GFN1-xTB of tblite behind the same call."""

    def __init__(self) -> None:
        self._calculator = None

    def __call__(
        self, symbols: list[str], positions: np.ndarray, cell: np.ndarray, *, dispersion: bool
    ) -> Result:
        from ase import Atoms
        from ase.stress import voigt_6_to_full_3x3_stress
        from tblite.ase import TBLite

        if self._calculator is None:
            self._calculator = TBLite(method="GFN1-xTB", verbosity=0)
        atoms = Atoms(symbols, positions=positions, cell=cell, pbc=True)
        atoms.calc = self._calculator
        # Its own dispersion is always in; what VASP would add is the pair model's.
        extra = pair_model(symbols, positions, cell, dispersion=dispersion)
        bare = pair_model(symbols, positions, cell, dispersion=False)
        stress = voigt_6_to_full_3x3_stress(atoms.get_stress())
        return Result(
            energy=float(atoms.get_potential_energy()) + extra.dispersion,
            forces=atoms.get_forces() + extra.forces - bare.forces,
            virial=-stress * atoms.get_volume() + extra.virial - bare.virial,
            dispersion=extra.dispersion,
        )


def calculator():
    """What the environment variable STANDIN_VASP_CALCULATOR names: the pair model, or xtb."""
    name = os.environ.get("STANDIN_VASP_CALCULATOR") or "pair"
    return {"pair": lambda: pair_model, "xtb": Xtb}[name]()
