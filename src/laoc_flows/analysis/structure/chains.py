"""Al chains: connected components of the graph of the centers, by distance or by shared anions."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Literal, TypeAlias

import numpy as np
from pydantic import Field

from laoc_flows.analysis.structure.bonds import CENTER, LIGANDS, assign_roles, bonds
from laoc_flows.analysis.structure.neighbors import canonical, pairs
from laoc_flows.analysis.trajectories.frame import Frame, Image, Result, StructureLike, as_frame
from laoc_flows.errors import InputError

Rule: TypeAlias = Literal["distance", "bridge"]
Shape: TypeAlias = Literal["isolated", "linear", "branched", "ring", "cyclic", "percolating"]
Edge: TypeAlias = tuple[int, int, Image]

CHAIN_CUTOFF = 4.2
"""Two Al closer than this [A] belong to one chain under the distance rule: the default for Al."""

_BRANCH = 3


class Component(Result):
    """One connected component of the graph of the centers."""

    atoms: tuple[int, ...] = Field(description="Atom indices of its centers, ascending.")
    images: tuple[Image, ...] = Field(
        description="Lattice image of each center, as `atoms`, that makes the component whole (up to closing edges)."
    )
    size: int = Field(description="Number of centers, per cell if the component percolates.", ge=1)
    dimension: int = Field(
        description="Number of independent lattice vectors it closes on: 0 finite, 1-3 percolating.",
        ge=0,
        le=3,
    )
    n_edges: int = Field(description="Number of edges (pairs with image), per cell.", ge=0)
    cyclomatic_number: int = Field(
        description="Independent cycles, n_edges - size + 1; those that close only on a lattice vector included."
    )
    n_ends: int = Field(description="Number of centers with one edge.", ge=0)
    n_branch_points: int = Field(description="Number of centers with three or more edges.", ge=0)

    @property
    def shape(self) -> Shape:
        """What it looks like.

        'isolated' (one center without edges), 'linear' or 'branched' (no cycle), 'ring' (one cycle and nothing
        else), 'cyclic' (any other with a cycle), or 'percolating' (dimension above 0).
        """
        if self.dimension:
            return "percolating"
        if self.cyclomatic_number:
            return "cyclic" if self.n_branch_points or self.cyclomatic_number > 1 else "ring"
        if self.size == 1:
            return "isolated"
        return "branched" if self.n_branch_points else "linear"


class ChainResult(Result):
    """The chains of one structure under one rule."""

    center: str = Field(description="Element of the centers (Al).")
    rule: Rule = Field(
        description="'distance': two centers closer than the cutoff; 'bridge': at least one shared anion."
    )
    cutoff: float | None = Field(
        description="Center-center cutoff of the distance rule [A]; None for the bridge rule."
    )
    bond_cutoffs: dict[str, float] | None = Field(
        description="Bond cutoffs of the bridge rule [A]; None for the distance rule."
    )
    n_centers: int = Field(description="Number of centers in the cell (N_Al).", ge=0)
    n_edges: int = Field(description="Number of edges (pairs with image) in the cell.", ge=0)
    components: tuple[Component, ...] = Field(description="Largest first, then by lowest atom index.")
    counts: dict[int, int] = Field(description="Size N to the number n_N of components.")
    number_histogram: dict[int, float] = Field(description="Number-weighted: N to n_N / sum n_N.")
    center_histogram: dict[int, float] = Field(description="Al-weighted: N to N n_N / N_Al.")
    isolated_fraction: float | None = Field(
        description="Share of the centers in finite components of one (Al_iso); None without centers."
    )
    number_average_size: float | None = Field(description="sum N n_N / sum n_N; None without centers.")
    weight_average_size: float | None = Field(description="sum N^2 n_N / N_Al; None without centers.")

    @property
    def n_al(self) -> int:
        """The same as `n_centers`."""
        return self.n_centers

    @property
    def al_histogram(self) -> dict[int, float]:
        """The same as `center_histogram`."""
        return self.center_histogram

    @property
    def dimension(self) -> int:
        """Largest dimension of any component; 0 when nothing percolates."""
        return max((component.dimension for component in self.components), default=0)


class RuleDisagreement(Result):
    """Edges that one rule sees and the other does not; an edge is (i, j, image of j)."""

    both: tuple[Edge, ...] = Field(description="Edges of both rules.")
    distance_only: tuple[Edge, ...] = Field(description="Closer than the cutoff without a shared anion.")
    bridge_only: tuple[Edge, ...] = Field(description="A shared anion, but not closer than the cutoff.")


def chain_cutoff(center: str, cutoff: float | None) -> float:
    """Return the cutoff of the distance rule: what was given, or 4.2 A for Al.

    Parameters
    ----------
    center : str
        Element of the centers.
    cutoff : float or None
        What was given [A].

    Returns
    -------
    float
        The cutoff [A].

    Raises
    ------
    InputError
        When it is not positive, or missing for a center that is not Al.
    """
    if cutoff is None and center != CENTER:
        message = f"there is no default distance below which two {center} belong to one chain"
        raise InputError(message, remedy="give the cutoff in A, or use rule='bridge'")
    value = CHAIN_CUTOFF if cutoff is None else float(cutoff)
    if not (math.isfinite(value) and value > 0):
        message = f"the chain cutoff is {value} A, not a positive number"
        raise InputError(message)
    return value


def chains(
    structure: StructureLike,
    rule: Rule = "distance",
    cutoff: float | None = None,
    center: str = CENTER,
    ligands: Sequence[str] = LIGANDS,
    bond_cutoffs: Mapping[str, float] | None = None,
) -> ChainResult:
    """Split the centers of a structure into chains.

    Parameters
    ----------
    structure : Frame, ase.Atoms or pymatgen.core.Structure
        The structure.
    rule : {"distance", "bridge"}, default "distance"
        When two centers are connected: closer than `cutoff`, or bonded to at least one common anion.
    cutoff : float, optional
        Center-center cutoff of the distance rule [A]; 4.2 for Al, for other centers it must be given.
    center : str, default "Al"
        Element of the centers.
    ligands : sequence of str, default ("O", "Cl")
        Elements of the anions of the bridge rule.
    bond_cutoffs : mapping of str to float, optional
        Bond cutoffs of the bridge rule [A]; {"O": 2.4, "Cl": 2.8} for Al, for other elements they must be given.

    Returns
    -------
    ChainResult
        Without components when there is no center. A center that is connected only to its own images is a
        percolating component of one, and not isolated.

    Raises
    ------
    InputError
        When the rule is unknown or a cutoff is missing or not positive.

    Notes
    -----
    The distance rule is that of J. Mater. Chem. A 13, 2309 (2025), Fig. 1.

    Examples
    --------
    >>> from ase import Atoms
    >>> row = Atoms("Al4", [[0, 0, 0], [3, 0, 0], [6, 0, 0], [12, 0, 0]], cell=[20, 20, 20], pbc=True)
    >>> result = chains(row)
    >>> result.counts, result.isolated_fraction, result.components[0].shape
    ({1: 1, 3: 1}, 0.25, 'linear')
    """
    frame = as_frame(structure)
    if rule == "distance":
        cutoff = chain_cutoff(center, cutoff)
        edges = _near(frame, center, cutoff)
    elif rule == "bridge":
        bond_cutoffs = assign_roles(frame.species, center, ligands, bond_cutoffs).cutoffs
        edges = _bridged(frame, center, ligands, bond_cutoffs)
    else:
        message = f"rule = {rule!r} is neither 'distance' nor 'bridge'"
        raise InputError(message)
    atoms = [int(k) for k in frame.indices(center)]
    components = sorted(_components(atoms, edges), key=lambda part: (-part.size, part.atoms))
    counts = dict(sorted(Counter(part.size for part in components).items()))
    n_centers, n_parts = len(atoms), len(components)
    isolated = sum(part.size == 1 and part.dimension == 0 for part in components)
    return ChainResult(
        center=center,
        rule=rule,
        cutoff=cutoff if rule == "distance" else None,
        bond_cutoffs=dict(bond_cutoffs or {}) if rule == "bridge" else None,
        n_centers=n_centers,
        n_edges=len(edges),
        components=tuple(components),
        counts=counts,
        number_histogram={size: n / n_parts for size, n in counts.items()},
        center_histogram={size: size * n / n_centers for size, n in counts.items()},
        isolated_fraction=isolated / n_centers if n_centers else None,
        number_average_size=n_centers / n_parts if n_centers else None,
        weight_average_size=sum(size**2 * n for size, n in counts.items()) / n_centers if n_centers else None,
    )


def rule_disagreement(
    structure: StructureLike,
    cutoff: float | None = None,
    center: str = CENTER,
    ligands: Sequence[str] = LIGANDS,
    bond_cutoffs: Mapping[str, float] | None = None,
) -> RuleDisagreement:
    """Compare the edges of the two rules.

    Parameters
    ----------
    structure : Frame, ase.Atoms or pymatgen.core.Structure
        The structure.
    cutoff : float, optional
        Center-center cutoff of the distance rule [A]; 4.2 for Al, for other centers it must be given.
    center : str, default "Al"
        Element of the centers.
    ligands : sequence of str, default ("O", "Cl")
        Elements of the anions of the bridge rule.
    bond_cutoffs : mapping of str to float, optional
        Bond cutoffs of the bridge rule [A]; {"O": 2.4, "Cl": 2.8} for Al, for other elements they must be given.

    Returns
    -------
    RuleDisagreement
        Every edge once, sorted.

    Raises
    ------
    InputError
        When a cutoff is missing or not positive.

    Examples
    --------
    >>> from ase import Atoms
    >>> pair = Atoms("Al2", [[0, 0, 0], [4, 0, 0]], cell=[20, 20, 20], pbc=True)
    >>> rule_disagreement(pair).distance_only
    ((0, 1, (0, 0, 0)),)
    """
    frame = as_frame(structure)
    near = set(_near(frame, center, chain_cutoff(center, cutoff)))
    bridged = set(_bridged(frame, center, ligands, bond_cutoffs))
    return RuleDisagreement(
        both=tuple(sorted(near & bridged)),
        distance_only=tuple(sorted(near - bridged)),
        bridge_only=tuple(sorted(bridged - near)),
    )


def _near(frame: Frame, center: str, cutoff: float) -> list[Edge]:
    """Return every edge of the distance rule once, in its canonical direction."""
    near = pairs(frame, center, center, cutoff)
    rows = zip(near.i.tolist(), near.j.tolist(), near.image.tolist(), strict=True)
    return sorted({canonical(i, j, (n[0], n[1], n[2])) for i, j, n in rows})


def _bridged(
    frame: Frame, center: str, ligands: Sequence[str], cutoffs: Mapping[str, float] | None
) -> list[Edge]:
    """Return every edge of the bridge rule once, in its canonical direction."""
    return [(link.i, link.j, link.image) for link in bonds(frame, center, ligands, cutoffs).links]


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
