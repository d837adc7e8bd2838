"""Type and chain of every center of one frame, in compiled loops: what event analyses ask of many frames."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from laoc_flows.analysis.structure.bonds import Roles
from laoc_flows.analysis.structure.chains import Rule, chain_cutoff
from laoc_flows.analysis.structure.kernels import half_pairs
from laoc_flows.analysis.structure.survey_kernels import count_bonds, find_components, find_links, sorted_rows
from laoc_flows.analysis.structure.tetrahedra import COORDINATION, type_numbers
from laoc_flows.analysis.trajectories.frame import FloatArray, IntArray
from laoc_flows.errors import InputError


class CenterStates(NamedTuple):
    """What every center of one frame is, in the order of `Roles.centers`.

    Parameters
    ----------
    type_index : ndarray of int, shape (n_centers,)
        Number of its type, see `tetrahedra.type_numbers` and, for the label, `tetrahedra.numbered_type`.
    n_ligand : ndarray of int, shape (n_centers, n_ligands)
        Its bonds with each ligand.
    bridging : ndarray of int, shape (n_centers,)
        Its bonds that go to a bridging anion (n of Q^n).
    chain_id : ndarray of int, shape (n_centers,)
        Its chain, an index into `ChainResult.components`: the largest is 0.
    chain_size : ndarray of int, shape (n_centers,)
        Number of centers of its chain, per cell if the chain percolates.
    chain_dimension : ndarray of int, shape (n_centers,)
        Number of independent lattice vectors that its chain closes on.
    """

    type_index: IntArray
    n_ligand: IntArray
    bridging: IntArray
    chain_id: IntArray
    chain_size: IntArray
    chain_dimension: IntArray

    @property
    def isolated(self) -> np.ndarray:
        """Whether it is a finite chain of one (Al_iso), shape (n_centers,)."""
        return (self.chain_size == 1) & (self.chain_dimension == 0)


def center_states(
    positions: FloatArray,
    cell: FloatArray,
    roles: Roles,
    rule: Rule = "distance",
    cutoff: float | None = None,
    coordination: int = COORDINATION,
) -> CenterStates:
    """Return type and chain of every center of one frame.

    Parameters
    ----------
    positions : ndarray, shape (n_atoms, 3)
        Cartesian positions, wrapped or not [A].
    cell : ndarray, shape (3, 3)
        Rows are a, b and c [A].
    roles : Roles
        From `bonds.assign_roles`, made once for all frames.
    rule : {"distance", "bridge"}, default "distance"
        When two centers belong to one chain, see `chains.chains`.
    cutoff : float, optional
        Center-center cutoff of the distance rule [A]; 4.2 for Al, for other centers it must be given.
    coordination : int, default 4
        Bonds of a regular center.

    Returns
    -------
    CenterStates
        The same as `tetrahedra.tetrahedra` and `chains.chains` say of that frame.

    Raises
    ------
    InputError
        When the rule is unknown or a cutoff is missing or not positive.

    Examples
    --------
    >>> from ase import Atoms
    >>> from laoc_flows.analysis.structure.bonds import assign_roles
    >>> row = Atoms("Al3Cl", [[0, 0, 0], [3, 0, 0], [9, 0, 0], [9, 2, 0]], cell=[20, 20, 20], pbc=True)
    >>> states = center_states(row.positions, row.cell[:], assign_roles(row.get_chemical_symbols()))
    >>> states.chain_size.tolist(), states.isolated.tolist(), states.n_ligand[:, 1].tolist()
    ([2, 2, 1], [False, False, True], [0, 0, 1])
    """
    n_centers = roles.centers.size
    first, second, image, _ = roles.bonds(positions, cell)
    by_ligand, per_anion, bridging = count_bonds(
        first, second, roles.ligand_of_anion, n_centers, len(roles.ligands)
    )
    if rule == "distance":
        edges = near_edges(positions, cell, roles.centers, chain_cutoff(roles.center, cutoff))
    elif rule == "bridge":
        edges = find_links(first, second, image, per_anion, n_centers)
    else:
        message = f"rule = {rule!r} is neither 'distance' nor 'bridge'"
        raise InputError(message)
    label, size, dimension, _ = find_components(n_centers, edges)
    return CenterStates(
        type_index=type_numbers(by_ligand, coordination),
        n_ligand=by_ligand,
        bridging=bridging,
        chain_id=label,
        chain_size=size[label],
        chain_dimension=dimension[label],
    )


def near_edges(positions: FloatArray, cell: FloatArray, centers: IntArray, cutoff: float) -> IntArray:
    """Find all pairs of centers that are closer than a cutoff.

    Parameters
    ----------
    positions : ndarray, shape (n_atoms, 3)
        Cartesian positions, wrapped or not [A].
    cell : ndarray, shape (3, 3)
        Rows are a, b and c [A].
    centers : ndarray of int, shape (n_centers,)
        Their atom indices.
    cutoff : float
        Pairs are strictly closer [A].

    Returns
    -------
    ndarray of int, shape (n_edges, 5)
        Sorted rows (i, j, image of j), numbers among `centers`.
    """
    kinds = np.zeros(centers.size, dtype=np.int64)
    i, j, image, _ = half_pairs(positions[centers], cell, kinds, np.array([[cutoff]]))
    return np.asarray(sorted_rows(np.column_stack([i, j, image]), centers.size))
