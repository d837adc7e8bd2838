"""Bonds between Al and its anions, and how the polyhedra share them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from types import MappingProxyType

import numpy as np
from pydantic import Field

from laoc_flows.analysis.frame import Image, Result, StructureLike, as_frame
from laoc_flows.analysis.neighbors import canonical, pairs
from laoc_flows.errors import InputError

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
    def links_per_al(self) -> float | None:
        """Measured link number: sum over anions of max(c_a - 1, 0), per center; None without centers."""
        return self.sum_rule()[0] / self.n_centers if self.n_centers else None

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


def bonds(
    structure: StructureLike,
    center: str = "Al",
    ligands: Sequence[str] = ("O", "Cl"),
    cutoffs: Mapping[str, float] = BOND_CUTOFFS,
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
    cutoffs : mapping of str to float, default {"O": 2.4, "Cl": 2.8}
        Bonds are shorter than this [A]; one entry per ligand.

    Returns
    -------
    BondTable
        With empty columns where an element is absent.

    Raises
    ------
    InputError
        When a ligand has no cutoff, is named twice, or is the center itself.
    """
    missing = [ligand for ligand in ligands if ligand not in cutoffs]
    if missing or center in ligands or len(set(ligands)) != len(ligands):
        message = f"ligands = {list(ligands)} of {center} do not fit cutoffs = {dict(cutoffs)}"
        raise InputError(message, remedy="name every ligand once, with a cutoff, and not the center")
    frame = as_frame(structure)
    centers = frame.indices(center)
    anions = (
        np.sort(np.concatenate([frame.indices(ligand) for ligand in ligands]))
        if ligands
        else np.empty(0, int)
    )
    found = [pairs(frame, center, ligand, cutoffs[ligand]) for ligand in ligands]
    columns = [
        (int(i), int(j), (int(n[0]), int(n[1]), int(n[2])), float(d))
        for part in found
        for i, j, n, d in zip(part.i, part.j, part.image, part.distance, strict=True)
    ]
    columns.sort()
    by_ligand = {
        ligand: tuple(np.bincount(part.i, minlength=frame.n_atoms)[centers].tolist())
        for ligand, part in zip(ligands, found, strict=True)
    }
    per_center = Counter(column[0] for column in columns)
    per_anion = Counter(column[1] for column in columns)
    bridging = Counter(i for i, j, _, _ in columns if per_anion[j] > 1)
    return BondTable(
        center=center,
        cutoffs={ligand: float(cutoffs[ligand]) for ligand in ligands},
        center_indices=tuple(centers.tolist()),
        anion_indices=tuple(anions.tolist()),
        anion_species=tuple(frame.species[a] for a in anions),
        bond_center=tuple(column[0] for column in columns),
        bond_anion=tuple(column[1] for column in columns),
        bond_image=tuple(column[2] for column in columns),
        bond_distance=tuple(column[3] for column in columns),
        coordination=tuple(per_center[int(c)] for c in centers),
        coordination_by_ligand=by_ligand,
        anion_coordination=tuple(per_anion[int(a)] for a in anions),
        bridging_per_center=tuple(bridging[int(c)] for c in centers),
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
