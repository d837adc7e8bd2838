"""Al chains: connected components of the Al graph, by distance or by shared anions."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Literal, TypeAlias

import numpy as np
from pydantic import Field

from laoc_flows.analysis.bonds import BOND_CUTOFFS, bonds
from laoc_flows.analysis.frame import Frame, Image, Result, StructureLike, as_frame
from laoc_flows.analysis.neighbors import canonical, pairs
from laoc_flows.errors import InputError

Rule: TypeAlias = Literal["distance", "bridge"]
Edge: TypeAlias = tuple[int, int, Image]

CHAIN_CUTOFF = 4.2
"""Two Al closer than this [A] belong to one chain under the distance rule."""

_BRANCH = 3


class Component(Result):
    """One connected component of the Al graph."""

    atoms: tuple[int, ...] = Field(description="Atom indices of its Al, ascending.")
    images: tuple[Image, ...] = Field(
        description="Lattice image of each Al, as `atoms`, that makes the component whole (up to closing edges)."
    )
    size: int = Field(description="Number of Al, per cell if the component percolates.", ge=1)
    dimension: int = Field(
        description="Number of independent lattice vectors it closes on: 0 finite, 1-3 percolating.",
        ge=0,
        le=3,
    )
    n_edges: int = Field(description="Number of edges (pairs with image), per cell.", ge=0)
    cyclomatic_number: int = Field(
        description="Independent cycles, n_edges - size + 1; those that close only on a lattice vector included."
    )
    n_ends: int = Field(description="Number of Al with one edge.", ge=0)
    n_branch_points: int = Field(description="Number of Al with three or more edges.", ge=0)


class ChainResult(Result):
    """The Al chains of one structure under one rule."""

    rule: Rule = Field(
        description="'distance': d(Al, Al) below the cutoff; 'bridge': at least one shared anion."
    )
    cutoff: float | None = Field(
        description="Al-Al cutoff of the distance rule [A]; None for the bridge rule."
    )
    bond_cutoffs: dict[str, float] | None = Field(
        description="Bond cutoffs of the bridge rule [A]; None for the distance rule."
    )
    n_al: int = Field(description="Number of Al in the cell.", ge=0)
    n_edges: int = Field(description="Number of edges (pairs with image) in the cell.", ge=0)
    components: tuple[Component, ...] = Field(description="Largest first, then by lowest atom index.")
    counts: dict[int, int] = Field(description="Size N to the number n_N of components.")
    number_histogram: dict[int, float] = Field(description="Number-weighted: N to n_N / sum n_N.")
    al_histogram: dict[int, float] = Field(description="Al-weighted: N to N n_N / N_Al.")
    isolated_fraction: float | None = Field(
        description="Share of Al in finite components of one (Al_iso); None without Al."
    )
    number_average_size: float | None = Field(description="sum N n_N / sum n_N; None without Al.")
    weight_average_size: float | None = Field(description="sum N^2 n_N / N_Al; None without Al.")

    @property
    def dimension(self) -> int:
        """Largest dimension of any component; 0 when nothing percolates."""
        return max((component.dimension for component in self.components), default=0)


class RuleDisagreement(Result):
    """Edges that one rule sees and the other does not; an edge is (i, j, image of j)."""

    both: tuple[Edge, ...] = Field(description="Edges of both rules.")
    distance_only: tuple[Edge, ...] = Field(description="Closer than the cutoff without a shared anion.")
    bridge_only: tuple[Edge, ...] = Field(description="A shared anion, but not closer than the cutoff.")


def chains(
    structure: StructureLike,
    rule: Rule = "distance",
    cutoff: float = CHAIN_CUTOFF,
    bond_cutoffs: Mapping[str, float] = BOND_CUTOFFS,
) -> ChainResult:
    """Split the Al of a structure into chains.

    Parameters
    ----------
    structure : Frame, ase.Atoms or pymatgen.core.Structure
        The structure.
    rule : {"distance", "bridge"}, default "distance"
        When two Al are connected: closer than `cutoff`, or bonded to at least one common anion.
    cutoff : float, default 4.2
        Al-Al cutoff of the distance rule [A].
    bond_cutoffs : mapping of str to float, default {"O": 2.4, "Cl": 2.8}
        Al-O and Al-Cl bond cutoffs of the bridge rule [A].

    Returns
    -------
    ChainResult
        Without components when there is no Al. An Al that is connected only to its own images is a percolating
        component of one, and not isolated.

    Raises
    ------
    InputError
        When the rule is unknown or a cutoff is missing or not positive.

    Notes
    -----
    The distance rule is that of J. Mater. Chem. A 13, 2309 (2025), Fig. 1.
    """
    frame = as_frame(structure)
    edges = _edges(frame, rule, cutoff, bond_cutoffs)
    atoms = [int(k) for k in frame.indices("Al")]
    components = sorted(_components(atoms, edges), key=lambda part: (-part.size, part.atoms))
    counts = dict(sorted(Counter(part.size for part in components).items()))
    n_al, n_parts = len(atoms), len(components)
    isolated = sum(part.size == 1 and part.dimension == 0 for part in components)
    return ChainResult(
        rule=rule,
        cutoff=float(cutoff) if rule == "distance" else None,
        bond_cutoffs={k: float(v) for k, v in bond_cutoffs.items()} if rule == "bridge" else None,
        n_al=n_al,
        n_edges=len(edges),
        components=tuple(components),
        counts=counts,
        number_histogram={size: n / n_parts for size, n in counts.items()},
        al_histogram={size: size * n / n_al for size, n in counts.items()},
        isolated_fraction=isolated / n_al if n_al else None,
        number_average_size=n_al / n_parts if n_al else None,
        weight_average_size=sum(size**2 * n for size, n in counts.items()) / n_al if n_al else None,
    )


def rule_disagreement(
    structure: StructureLike,
    cutoff: float = CHAIN_CUTOFF,
    bond_cutoffs: Mapping[str, float] = BOND_CUTOFFS,
) -> RuleDisagreement:
    """Compare the edges of the two rules.

    Parameters
    ----------
    structure : Frame, ase.Atoms or pymatgen.core.Structure
        The structure.
    cutoff : float, default 4.2
        Al-Al cutoff of the distance rule [A].
    bond_cutoffs : mapping of str to float, default {"O": 2.4, "Cl": 2.8}
        Bond cutoffs of the bridge rule [A].

    Returns
    -------
    RuleDisagreement
        Every edge once, sorted.

    Raises
    ------
    InputError
        When a cutoff is missing or not positive.
    """
    frame = as_frame(structure)
    near = set(_edges(frame, "distance", cutoff, bond_cutoffs))
    bridged = set(_edges(frame, "bridge", cutoff, bond_cutoffs))
    return RuleDisagreement(
        both=tuple(sorted(near & bridged)),
        distance_only=tuple(sorted(near - bridged)),
        bridge_only=tuple(sorted(bridged - near)),
    )


def _edges(frame: Frame, rule: str, cutoff: float, bond_cutoffs: Mapping[str, float]) -> list[Edge]:
    """Return every edge once, in its canonical direction."""
    if rule == "bridge":
        return [(link.i, link.j, link.image) for link in bonds(frame, "Al", ("O", "Cl"), bond_cutoffs).links]
    if rule != "distance":
        message = f"rule = {rule!r} is neither 'distance' nor 'bridge'"
        raise InputError(message)
    near = pairs(frame, "Al", "Al", cutoff)
    rows = zip(near.i.tolist(), near.j.tolist(), near.image.tolist(), strict=True)
    return sorted({canonical(i, j, (n[0], n[1], n[2])) for i, j, n in rows})


def _components(atoms: list[int], edges: list[Edge]) -> list[Component]:
    neighbors: dict[int, list[tuple[int, Image]]] = defaultdict(list)
    for i, j, n in edges:
        neighbors[i].append((j, n))
        neighbors[j].append((i, (-n[0], -n[1], -n[2])))
    place: dict[int, Image] = {}
    parts = []
    for root in atoms:
        if root in place:
            continue
        place[root] = (0, 0, 0)
        members, closing = [root], set()
        for i in members:
            for j, n in neighbors[i]:
                at = (place[i][0] + n[0], place[i][1] + n[1], place[i][2] + n[2])
                if j not in place:
                    place[j] = at
                    members.append(j)
                elif at != place[j]:
                    closing.add((at[0] - place[j][0], at[1] - place[j][1], at[2] - place[j][2]))
        degrees = [len(neighbors[i]) for i in members]
        n_edges = sum(degrees) // 2
        members.sort()
        parts.append(
            Component(
                atoms=tuple(members),
                images=tuple(place[i] for i in members),
                size=len(members),
                dimension=int(np.linalg.matrix_rank(np.array(sorted(closing)))) if closing else 0,
                n_edges=n_edges,
                cyclomatic_number=n_edges - len(members) + 1,
                n_ends=degrees.count(1),
                n_branch_points=sum(degree >= _BRANCH for degree in degrees),
            )
        )
    return parts
