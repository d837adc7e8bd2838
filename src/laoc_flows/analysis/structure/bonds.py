"""Bonds between Al and its anions, and how the polyhedra share them."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from types import MappingProxyType

import numpy as np
from pydantic import Field

from laoc_flows.analysis.structure.kernels import half_pairs
from laoc_flows.analysis.structure.neighbors import canonical
from laoc_flows.analysis.structure.survey_kernels import orient
from laoc_flows.analysis.trajectories.frame import (
    FloatArray,
    Image,
    IntArray,
    Result,
    StructureLike,
    as_frame,
)
from laoc_flows.errors import InputError

CENTER = "Al"
LIGANDS = ("O", "Cl")
BOND_CUTOFFS: Mapping[str, float] = MappingProxyType({"O": 2.4, "Cl": 2.8})
"""Al-O and Al-Cl bonds are shorter than this [A]: the first minima of g(r)."""

CORNER, EDGE, FACE = 1, 2, 3


class Link(Result):
    """Two centers, in stated images, that share at least one anion."""

    i: int = Field(description="Index of the first center, in the home cell.")
    j: int = Field(description="Index of the second center; not below i.")
    image: Image = Field(description="Lattice image of the second center.")
    n_shared: int = Field(description="Number of anions bonded to both: 1 corner, 2 edge, 3 face.", ge=1)


class BondTable(Result):
    """All bonds of the centers (Al) of one structure; counts are per cell."""

    center: str = Field(description="Element of the centers.")
    cutoffs: dict[str, float] = Field(description="Element of the ligand to the bond cutoff [A].")
    center_indices: tuple[int, ...] = Field(description="Atom index of every center, ascending.")
    anion_indices: tuple[int, ...] = Field(
        description="Atom index of every ligand atom, bonded or not, ascending."
    )
    anion_species: tuple[str, ...] = Field(description="Element of every ligand atom, as `anion_indices`.")
    bond_center: tuple[int, ...] = Field(description="Atom index of the center of every bond.")
    bond_anion: tuple[int, ...] = Field(description="Atom index of the anion of every bond.")
    bond_image: tuple[Image, ...] = Field(description="Lattice image of the anion of every bond.")
    bond_distance: tuple[float, ...] = Field(description="Length of every bond [A].")
    coordination: tuple[int, ...] = Field(description="Bonds of every center (CN), as `center_indices`.")
    coordination_by_ligand: dict[str, tuple[int, ...]] = Field(
        description="Ligand element to the bonds of every center with it, as `center_indices`."
    )
    anion_coordination: tuple[int, ...] = Field(
        description="Bonds of every ligand atom (c_a), as `anion_indices`; images of one center count each."
    )
    bridging_per_center: tuple[int, ...] = Field(
        description="Bonds of every center that go to an anion with c_a >= 2 (n of Q^n), as `center_indices`."
    )
    links: tuple[Link, ...] = Field(description="Linked pairs of centers, one per pair and image.")

    @property
    def n_centers(self) -> int:
        """Number of centers (N_Al)."""
        return len(self.center_indices)

    @property
    def n_bonds(self) -> int:
        """Number of bonds."""
        return len(self.bond_center)

    @property
    def n_free_anions(self) -> int:
        """Number of anions bonded to no center (c_a = 0)."""
        return self.anion_coordination.count(0)

    @property
    def n_triclusters(self) -> int:
        """Number of anions bonded to exactly three centers (c_a = 3)."""
        return self.anion_coordination.count(3)

    @property
    def n_bridges(self) -> dict[str, int]:
        """Ligand element to the number of its atoms with c_a >= 2, tri-clusters included."""
        found = Counter(s for s, c in zip(self.anion_species, self.anion_coordination, strict=True) if c > 1)
        return {ligand: found[ligand] for ligand in self.cutoffs}

    @property
    def n_corner_links(self) -> int:
        """Number of links through one shared anion."""
        return sum(link.n_shared == CORNER for link in self.links)

    @property
    def n_edge_links(self) -> int:
        """Number of links through two shared anions."""
        return sum(link.n_shared == EDGE for link in self.links)

    @property
    def n_face_links(self) -> int:
        """Number of links through three or more shared anions."""
        return sum(link.n_shared >= FACE for link in self.links)

    @property
    def links_per_center(self) -> float | None:
        """Measured link number: sum over anions of max(c_a - 1, 0), per center; None without centers."""
        return self.sum_rule()[0] / self.n_centers if self.n_centers else None

    @property
    def links_per_al(self) -> float | None:
        """The same as `links_per_center`."""
        return self.links_per_center

    def sum_rule(self) -> tuple[int, int]:
        """Return both sides of the exact identity that every bond table obeys.

        Returns
        -------
        tuple of int
            Sum over anions of max(c_a - 1, 0), counted on the anions, and sum of CN over the centers minus the
            number of bonded anions, counted on the centers and the bond list.
        """
        left = sum(max(c - 1, 0) for c in self.anion_coordination)
        return left, sum(self.coordination) - len(set(self.bond_anion))


@dataclass(frozen=True, eq=False)
class Roles:
    """Who bonds with whom: made once for a set of atoms, used for every frame of it.

    Parameters
    ----------
    center : str
        Element of the centers.
    ligands : tuple of str
        Elements of the ligands.
    cutoffs : dict of str to float
        Ligand to its bond cutoff [A].
    centers, anions : ndarray of int
        Atom indices of the centers and of the ligand atoms of all kinds, ascending.
    ligand_of_anion : ndarray of int
        Which of `ligands` every ligand atom is, as `anions`.
    kinds, local, is_center : ndarray of int, shape (n_atoms,)
        Row of `table`; number among the centers or among the ligand atoms; 1 for a center.
    table : ndarray, shape (n_ligands + 2, n_ligands + 2)
        Bond cutoffs between kinds [A]; the last kind bonds with nothing.
    """

    center: str
    ligands: tuple[str, ...]
    cutoffs: dict[str, float]
    centers: IntArray
    anions: IntArray
    ligand_of_anion: IntArray
    kinds: IntArray
    local: IntArray
    is_center: IntArray
    table: FloatArray

    def bonds(
        self, positions: FloatArray, cell: FloatArray
    ) -> tuple[IntArray, IntArray, IntArray, FloatArray]:
        """Find the bonds of one frame.

        Parameters
        ----------
        positions : ndarray, shape (n_atoms, 3)
            Cartesian positions, wrapped or not [A].
        cell : ndarray, shape (3, 3)
            Rows are a, b and c [A].

        Returns
        -------
        center, anion : ndarray of int, shape (n_bonds,)
            Numbers among `centers` and among `anions`; in no particular order.
        image : ndarray of int, shape (n_bonds, 3)
            Lattice image of the ligand atom.
        distance : ndarray, shape (n_bonds,)
            Length [A].
        """
        i, j, image, distance = half_pairs(positions, cell, self.kinds, self.table)
        return *orient(i, j, image, self.local, self.is_center), distance


def assign_roles(
    species: Sequence[str],
    center: str = CENTER,
    ligands: Sequence[str] = LIGANDS,
    cutoffs: Mapping[str, float] | None = None,
) -> Roles:
    """Sort atoms into centers, ligands and the rest.

    Parameters
    ----------
    species : sequence of str, shape (n_atoms,)
        Element symbols.
    center : str, default "Al"
        Element of the centers.
    ligands : sequence of str, default ("O", "Cl")
        Elements of the ligands.
    cutoffs : mapping of str to float, optional
        Bonds are shorter than this [A]; one entry per ligand. Around Al the default is {"O": 2.4, "Cl": 2.8};
        for other centers or ligands there is none.

    Returns
    -------
    Roles
        Without indices where an element is absent.

    Raises
    ------
    InputError
        When a ligand has no cutoff, is named twice, or is the center itself, or when a cutoff is not positive.

    Examples
    --------
    >>> roles = assign_roles(["Li", "P", "S", "S", "S", "S"], "P", ("S",), {"S": 2.6})
    >>> roles.centers.tolist(), roles.anions.tolist()
    ([1], [2, 3, 4, 5])
    """
    given: Mapping[str, float] = (BOND_CUTOFFS if center == CENTER else {}) if cutoffs is None else cutoffs
    missing = [ligand for ligand in ligands if ligand not in given]
    if missing or center in ligands or len(set(ligands)) != len(ligands):
        message = f"ligands = {list(ligands)} of {center} do not fit cutoffs = {dict(given)}"
        raise InputError(message, remedy="name every ligand once, with a cutoff, and not the center")
    reach = {ligand: float(given[ligand]) for ligand in ligands}
    if not all(math.isfinite(cutoff) and cutoff > 0 for cutoff in reach.values()):
        message = f"a bond cutoff of {center} is not a positive number: {reach}"
        raise InputError(message)
    kind_of = {center: 0} | {ligand: k for k, ligand in enumerate(ligands, start=1)}
    other = len(kind_of)
    kinds = np.array([kind_of.get(symbol, other) for symbol in species], dtype=np.int64)
    centers, anions = np.flatnonzero(kinds == 0), np.flatnonzero((kinds > 0) & (kinds < other))
    local = np.zeros(len(kinds), dtype=np.int64)
    local[centers], local[anions] = np.arange(centers.size), np.arange(anions.size)
    table = np.zeros((other + 1, other + 1))
    table[0, 1:other] = table[1:other, 0] = list(reach.values())
    return Roles(
        center=center,
        ligands=tuple(ligands),
        cutoffs=reach,
        centers=centers,
        anions=anions,
        ligand_of_anion=kinds[anions] - 1,
        kinds=kinds,
        local=local,
        is_center=(kinds == 0).astype(np.int64),
        table=table,
    )


def bonds(
    structure: StructureLike,
    center: str = CENTER,
    ligands: Sequence[str] = LIGANDS,
    cutoffs: Mapping[str, float] | None = None,
) -> BondTable:
    """Find the bonds between centers and ligands.

    Parameters
    ----------
    structure : Frame, ase.Atoms or pymatgen.core.Structure
        The structure.
    center : str, default "Al"
        Element of the centers.
    ligands : sequence of str, default ("O", "Cl")
        Elements of the anions.
    cutoffs : mapping of str to float, optional
        Bonds are shorter than this [A]; one entry per ligand. Around Al the default is {"O": 2.4, "Cl": 2.8};
        for other centers or ligands there is none.

    Returns
    -------
    BondTable
        With empty columns where an element is absent.

    Raises
    ------
    InputError
        When a ligand has no cutoff, is named twice, or is the center itself, or when a cutoff is not positive.

    Examples
    --------
    The octahedra of rock salt share each of their twelve edges with a neighbor: six edge links per center.

    >>> from ase.build import bulk
    >>> table = bonds(bulk("LiCl", "rocksalt", a=5.13), "Li", ("Cl",), {"Cl": 3.0})
    >>> table.coordination, table.anion_coordination, table.sum_rule()
    ((6,), (6,), (5, 5))
    >>> table.n_edge_links, table.n_corner_links
    (6, 3)
    """
    frame = as_frame(structure)
    roles = assign_roles(frame.species, center, ligands, cutoffs)
    first, second, image, distance = roles.bonds(frame.positions, frame.cell)
    rows = zip(
        roles.centers[first].tolist(),
        roles.anions[second].tolist(),
        image.tolist(),
        distance.tolist(),
        strict=True,
    )
    columns = sorted((i, j, (n[0], n[1], n[2]), d) for i, j, n, d in rows)
    ligand = roles.ligand_of_anion[second]
    n_centers = roles.centers.size
    per_anion = np.bincount(second, minlength=roles.anions.size)
    return BondTable(
        center=center,
        cutoffs=roles.cutoffs,
        center_indices=tuple(roles.centers.tolist()),
        anion_indices=tuple(roles.anions.tolist()),
        anion_species=tuple(frame.species[a] for a in roles.anions),
        bond_center=tuple(column[0] for column in columns),
        bond_anion=tuple(column[1] for column in columns),
        bond_image=tuple(column[2] for column in columns),
        bond_distance=tuple(column[3] for column in columns),
        coordination=tuple(np.bincount(first, minlength=n_centers).tolist()),
        coordination_by_ligand={
            symbol: tuple(np.bincount(first[ligand == k], minlength=n_centers).tolist())
            for k, symbol in enumerate(roles.ligands)
        },
        anion_coordination=tuple(per_anion.tolist()),
        bridging_per_center=tuple(np.bincount(first[per_anion[second] > 1], minlength=n_centers).tolist()),
        links=_links(columns),
    )


def _links(columns: list[tuple[int, int, Image, float]]) -> tuple[Link, ...]:
    """Count the anions that each pair of centers shares, image by image."""
    by_anion: dict[int, list[tuple[int, Image]]] = defaultdict(list)
    for i, anion, image, _ in columns:
        by_anion[anion].append((i, image))
    shared: Counter[tuple[int, int, Image]] = Counter()
    for ends in by_anion.values():
        for (i, m), (j, n) in combinations(ends, 2):
            # Seen from center i at home, the anion sits in image m, and so center j in image m - n.
            shared[canonical(i, j, (m[0] - n[0], m[1] - n[1], m[2] - n[2]))] += 1
    return tuple(Link(i=i, j=j, image=image, n_shared=n) for (i, j, image), n in sorted(shared.items()))
