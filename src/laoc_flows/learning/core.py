"""The soft core: repulsion that the network need not learn where there are no data.

A network extrapolates as it likes, and the first potentials of a campaign let ions fall onto each other. So a
repulsion between pairs inside their core radius is subtracted from every label before training and added again
wherever the potential is used (LAMMPS ``pair_style hybrid/overlay deepmd ... soft ...``). Where there are data,
core and network together reproduce them; where there are none, the core remains.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.stress import full_3x3_to_voigt_6_stress

from laoc_flows.schemas.protocol import SoftCore


def core_results(atoms: Atoms, core: SoftCore) -> tuple[float, np.ndarray, np.ndarray]:
    """Energy, forces and virial of the soft core.

    Parameters
    ----------
    atoms : ase.Atoms
        Periodic cell.
    core : SoftCore
        ``E = A (1 + cos(pi r / r_c))`` for r < r_c.

    Returns
    -------
    energy : float
        [eV].
    forces : numpy.ndarray, shape (n_atoms, 3)
        [eV/A].
    virial : numpy.ndarray, shape (3, 3)
        ``sum over pairs of r f``, that is ``-stress V`` [eV].
    """
    from ase.neighborlist import neighbor_list

    radii = core.radii.distances
    forces = np.zeros((len(atoms), 3))
    virial = np.zeros((3, 3))
    if not radii:
        return 0.0, forces, virial
    table = {tuple(sorted(pair.split("-"))): radius for pair, radius in radii.items()}
    symbols = atoms.get_chemical_symbols()
    i, j, distance, vector = neighbor_list("ijdD", atoms, max(radii.values()))
    limit = np.array(
        [table.get(tuple(sorted((symbols[a], symbols[b]))), 0.0) for a, b in zip(i, j, strict=True)]
    )
    inside = distance < limit
    i, distance, vector, limit = i[inside], distance[inside], vector[inside], limit[inside]
    # Every pair is in the list in both directions.
    energy = 0.5 * core.prefactor * float((1.0 + np.cos(np.pi * distance / limit)).sum())
    push = core.prefactor * np.pi / limit * np.sin(np.pi * distance / limit) / distance
    np.add.at(forces, i, -push[:, None] * vector)
    virial += 0.5 * np.einsum("n,na,nb->ab", push, vector, vector)
    return energy, forces, virial


def without_core(frames: Sequence[Atoms], core: SoftCore) -> list[Atoms]:
    """Labeled frames with the core subtracted: what the network is trained on."""
    found = []
    for frame in frames:
        energy, forces, virial = core_results(frame, core)
        bare = frame.copy()
        stress = frame.get_stress(voigt=False) + virial / frame.get_volume()
        bare.calc = SinglePointCalculator(
            bare,
            energy=frame.get_potential_energy() - energy,
            forces=frame.get_forces() - forces,
            stress=full_3x3_to_voigt_6_stress(stress),
        )
        found.append(bare)
    return found
