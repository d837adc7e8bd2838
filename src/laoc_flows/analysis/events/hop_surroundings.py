"""Types and chains of all centers at one time, with chains that know their periodic copies."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from laoc_flows.analysis.compiled import compiled
from laoc_flows.analysis.events.hop_hosts import HopRoles, TypeTable
from laoc_flows.analysis.events.hop_kernels import CENTER, bonded_centers
from laoc_flows.analysis.structure.chains import Rule
from laoc_flows.analysis.structure.kernels import half_pairs
from laoc_flows.analysis.trajectories.frame import FloatArray, IntArray


@compiled
def bridged(start: IntArray, center: IntArray, back: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """List the pairs of centers with a common ligand, once per ligand, from `bonded_centers`."""
    count = 0
    for x in range(start.shape[0] - 1):
        n = start[x + 1] - start[x]
        count += n * (n - 1) // 2
    i, j, image = np.empty(count, np.int64), np.empty(count, np.int64), np.empty((count, 3), np.int64)
    count = 0
    for x in range(start.shape[0] - 1):
        for p in range(start[x], start[x + 1]):
            for q in range(p + 1, start[x + 1]):
                i[count], j[count] = center[p], center[q]
                for k in range(3):
                    image[count, k] = back[q, k] - back[p, k]
                count += 1
    return i, j, image


@compiled
def _add_vector(basis: IntArray, vector: IntArray) -> None:
    """Add a vector to a lattice whose basis is kept in echelon form."""
    for k in range(3):
        while vector[k] != 0:
            factor = basis[k, k] // vector[k]
            for c in range(3):
                basis[k, c], vector[c] = vector[c], basis[k, c] - factor * vector[c]


@compiled
def in_lattice(basis: IntArray, vector: IntArray) -> bool:
    """Return whether a vector is an integer combination of the rows of an echelon basis."""
    rest = vector.copy()
    for k in range(3):
        if rest[k] == 0:
            continue
        if basis[k, k] == 0 or rest[k] % basis[k, k] != 0:
            return False
        factor = rest[k] // basis[k, k]
        for c in range(3):
            rest[c] -= factor * basis[k, c]
    return True


@compiled
def _root(parent: IntArray, place: IntArray, atom: int) -> int:
    """Return the root of an atom; afterwards its place is relative to that root."""
    root = atom
    while parent[root] != root:
        root = parent[root]
    # From the atom upward the places add up; done from the top, each needs one addition.
    while parent[atom] != root and atom != root:
        step, top = parent[atom], parent[atom]
        total = place[atom].copy()
        while top != root:
            total += place[top]
            top = parent[top]
        parent[atom], place[atom] = root, total
        atom = step
    return root


@compiled
def connect(i: IntArray, j: IntArray, image: IntArray, n_atoms: int) -> tuple[IntArray, IntArray, IntArray]:
    """Find connected components with the lattice vectors on which they close.

    Parameters
    ----------
    i, j, image : ndarray of int, shapes (n_edges,), (n_edges,) and (n_edges, 3)
        Edges from atom i at home to atom j in an image.
    n_atoms : int
        Number of atoms.

    Returns
    -------
    root : ndarray of int, shape (n_atoms,)
        Lowest atom index of the component.
    place : ndarray of int, shape (n_atoms, 3)
        Image of the atom in the copy of the component that holds its root at home.
    basis : ndarray of int, shape (n_atoms, 3, 3)
        Lattice vectors on which the component closes, in echelon form, at its root.
    """
    parent = np.arange(n_atoms)
    place = np.zeros((n_atoms, 3), np.int64)
    basis = np.zeros((n_atoms, 3, 3), np.int64)
    for e in range(i.shape[0]):
        a, b = _root(parent, place, i[e]), _root(parent, place, j[e])
        step = place[i[e]] + image[e] - place[j[e]]
        if a == b:
            _add_vector(basis[a], step)
            continue
        low, high = min(a, b), max(a, b)
        parent[high] = low
        place[high] = step if high == b else -step
        for k in range(3):
            _add_vector(basis[low], basis[high, k].copy())
    for atom in range(n_atoms):
        _root(parent, place, atom)
    return parent, place, basis


class Surroundings(NamedTuple):
    """The centers of one sample.

    Parameters
    ----------
    kind : ndarray of int, shape (n_atoms,)
        Type of every center; -1 for other atoms.
    chain : ndarray of int, shape (n_atoms,)
        Lowest atom index in its chain.
    size : ndarray of int, shape (n_atoms,)
        Centers in its chain, per cell.
    isolated : ndarray of bool, shape (n_atoms,)
        Whether it is alone, and not connected to its own images.
    place, basis : ndarray of int
        From `connect`.
    """

    kind: IntArray
    chain: IntArray
    size: IntArray
    isolated: npt.NDArray[np.bool_]
    place: IntArray
    basis: IntArray

    def same_chain(self, a: int, image_a: IntArray, b: int, image_b: IntArray) -> bool:
        """Return whether two centers, in their images, belong to one and the same copy of a chain."""
        if self.chain[a] != self.chain[b]:
            return False
        between = (image_a - self.place[a]) - (image_b - self.place[b])
        return bool(in_lattice(self.basis[self.chain[a]], between))


def surroundings(
    positions: FloatArray,
    cell: FloatArray,
    roles: HopRoles,
    types: TypeTable,
    rule: Rule,
    chain_cutoff: float | None,
) -> Surroundings:
    """Find types and chains of all centers of one sample.

    Parameters
    ----------
    positions : ndarray, shape (n_atoms, 3)
        Continuous positions [A].
    cell : ndarray, shape (3, 3)
        Rows are a, b and c [A].
    roles : HopRoles
        Which atoms play which part.
    types : TypeTable
        Grows by the types that turn up.
    rule : {"distance", "bridge"}
        When two centers are connected.
    chain_cutoff : float or None
        Distance of the distance rule [A]; None for the bridge rule.

    Returns
    -------
    Surroundings
        With images on the continuous coordinates.
    """
    n_atoms = roles.of_atom.size
    radii = roles.radii(0.0, chain_cutoff or 0.0)
    i, j, image, _ = half_pairs(positions, cell, roles.of_atom, radii)
    if rule == "distance":
        near = (roles.of_atom[i] == CENTER) & (roles.of_atom[j] == CENTER)
        edges = i[near], j[near], image[near]
    else:
        edges = bridged(*bonded_centers(i, j, image, roles.of_atom))
    chain, place, basis = connect(*edges, n_atoms)
    kind = np.full(n_atoms, -1, dtype=np.int64)
    kind[roles.centers] = types.of_centers(i, j)
    size = np.bincount(chain, minlength=n_atoms)[chain]
    isolated = (size == 1) & ~basis[chain].any(axis=(1, 2))
    return Surroundings(kind, chain, size, isolated, place, basis)
