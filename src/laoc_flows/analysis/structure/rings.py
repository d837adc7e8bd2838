"""Rings of alternating centers and anions: primitive rings of the bond network."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations
from typing import TypeAlias

from pydantic import Field

from laoc_flows.analysis.structure.bonds import CENTER, LIGANDS, BondTable, bonds
from laoc_flows.analysis.trajectories.frame import Result, StructureLike
from laoc_flows.errors import InputError

MAX_RING = 8
"""Largest ring that is looked for, in centers."""

_Node: TypeAlias = tuple[int, int, int, int]
"""Atom and lattice image."""
_Graph: TypeAlias = dict[int, list[_Node]]
"""Atom at home to its neighbors."""


class RingStatistics(Result):
    """Primitive rings of one structure."""

    center: str = Field(description="Element of the centers.")
    max_size: int = Field(description="Largest size that was looked for, in centers.", ge=2)
    n_centers: int = Field(description="Number of centers in the cell.", ge=0)
    counts: dict[int, int] = Field(
        description="Size, in centers, from 2 to `max_size`, to the rings per cell. Size 2 is a shared edge."
    )
    per_center: dict[int, float] = Field(
        description="Size to the mean number of rings that run through a center; empty without centers."
    )
    centers_in_rings: dict[int, int] = Field(
        description="Size to the number of centers with a ring of that size."
    )


def rings(
    structure: StructureLike,
    center: str = CENTER,
    ligands: Sequence[str] = LIGANDS,
    cutoffs: Mapping[str, float] | None = None,
    max_size: int = MAX_RING,
) -> RingStatistics:
    """Count the primitive rings of the network of bonds.

    Parameters
    ----------
    structure : Frame, ase.Atoms or pymatgen.core.Structure
        The structure.
    center : str, default "Al"
        Element of the centers.
    ligands : sequence of str, default ("O", "Cl")
        Elements of the ligands.
    cutoffs : mapping of str to float, optional
        Bond cutoffs [A]; {"O": 2.4, "Cl": 2.8} for Al, for other elements they must be given.
    max_size : int, default 8
        Largest ring to look for, in centers.

    Returns
    -------
    RingStatistics
        Rings per cell and per center, by size.

    Raises
    ------
    InputError
        When a cutoff is missing or not positive, or when `max_size` is below 2.

    Notes
    -----
    A ring is a closed path of alternating centers and anions without a short cut: between any two of its atoms no path
    is shorter than the one along the ring (Goetzke and Klein, J. Non-Cryst. Solids 127, 215 (1991); the primitive
    rings of Yuan and Cormack, Comput. Mater. Sci. 24, 343 (2002)). Its size is its number of centers. Two centers that
    share an edge are a ring of two; an anion that bonds to three centers makes no ring of them.

    Atoms are told apart by their lattice image: a path that leads to another image of its first atom is a chain, not a
    ring. Rings of the same centers, through one or the other anion of a shared edge, are one. The numbers do not depend
    on the cell that describes the crystal.

    Examples
    --------
    Every tetrahedron of cristobalite lies in twelve rings of six; there are two of them per center.

    >>> from pymatgen.core import Lattice, Structure
    >>> silica = Structure.from_spacegroup(
    ...     "Fd-3m", Lattice.cubic(7.166), ["Si", "O"], [[0, 0, 0], [1 / 8, 1 / 8, 1 / 8]]
    ... ).get_primitive_structure()
    >>> found = rings(silica, "Si", ("O",), {"O": 2.0}, max_size=6)
    >>> found.counts, found.per_center[6]
    ({2: 0, 3: 0, 4: 0, 5: 0, 6: 4}, 12.0)
    """
    return ring_statistics(bonds(structure, center, ligands, cutoffs), max_size)


def ring_statistics(table: BondTable, max_size: int = MAX_RING) -> RingStatistics:
    """Count the primitive rings of a bond table.

    Parameters
    ----------
    table : BondTable
        From `bonds.bonds`.
    max_size : int, default 8
        Largest ring to look for, in centers.

    Returns
    -------
    RingStatistics
        See `rings`.

    Raises
    ------
    InputError
        When `max_size` is below 2.
    """
    if max_size < 2:  # noqa: PLR2004 - two centers make the smallest ring
        message = f"max_size = {max_size} is not at least 2"
        raise InputError(message)
    search = _Search(_core(table), max_size)
    sizes = range(2, max_size + 1)
    through = dict.fromkeys(sizes, 0)
    inside = dict.fromkeys(sizes, 0)
    for atom in table.center_indices:
        for size, number in search.through(atom).items():
            through[size] += number
            inside[size] += 1
    n = table.n_centers
    return RingStatistics(
        center=table.center,
        max_size=max_size,
        n_centers=n,
        # A ring of n centers was seen from each of them.
        counts={size: number // size for size, number in through.items()},
        per_center={size: number / n for size, number in through.items()} if n else {},
        centers_in_rings=inside,
    )


def _core(table: BondTable) -> _Graph:
    """Return the network without dead ends, which no ring runs through and no short cut uses."""
    graph: _Graph = defaultdict(list)
    for i, a, (x, y, z) in zip(table.bond_center, table.bond_anion, table.bond_image, strict=True):
        graph[i].append((a, x, y, z))
        graph[a].append((i, -x, -y, -z))
    ends = [v for v, near in graph.items() if len(near) == 1]
    while ends:
        end = ends.pop()
        # Of two ends that only had each other, the second finds nothing left.
        for w, x, y, z in graph.pop(end, []):
            graph[w].remove((end, -x, -y, -z))
            if len(graph[w]) == 1:
                ends.append(w)
    return dict(graph)


class _Search:
    """Finds rings by their antipodes: an atom of the ring that two shortest paths lead to."""

    def __init__(self, graph: _Graph, depth: int) -> None:
        self.graph = graph
        self.depth = depth
        self.known: dict[int, dict[_Node, int]] = {}

    def near(self, node: _Node) -> Iterator[_Node]:
        v, a, b, c = node
        return ((w, a + x, b + y, c + z) for w, x, y, z in self.graph[v])

    def distances(self, atom: int) -> dict[_Node, int]:
        """Return the number of bonds from an atom at home to all atoms within `depth` bonds."""
        if atom not in self.known:
            home = (atom, 0, 0, 0)
            found = {home: 0}
            shell = [home]
            for distance in range(1, self.depth + 1):
                following = []
                for node in shell:
                    for other in self.near(node):
                        if other not in found:
                            found[other] = distance
                            following.append(other)
                shell = following
            self.known[atom] = found
        return self.known[atom]

    def distance(self, p: _Node, q: _Node) -> int | None:
        return self.distances(p[0]).get((q[0], q[1] - p[1], q[2] - p[2], q[3] - p[3]))

    def through(self, atom: int) -> dict[int, int]:
        """Return size to number of the rings through an atom at home."""
        if atom not in self.graph:
            return {}
        levels = self.distances(atom)
        found: dict[int, set[frozenset[_Node]]] = defaultdict(set)
        for node, size in levels.items():
            if size > 1:
                before = [other for other in self.near(node) if levels.get(other) == size - 1]
                for p, q in combinations(before, 2):
                    for ring in self.closed([p], [q], size, levels):
                        # Centers are an even number of bonds away from each other.
                        members = (*ring, node, (atom, 0, 0, 0))
                        found[size].add(frozenset(m for m in members if levels[m] % 2 == 0))
        return {size: len(rings_of_size) for size, rings_of_size in found.items()}

    def closed(
        self, left: list[_Node], right: list[_Node], size: int, levels: dict[_Node, int]
    ) -> Iterator[list[_Node]]:
        """Lead two branches, which part at the antipode, home in every way without a short cut."""
        step = len(left)
        p, q = left[-1], right[-1]
        if self.distance(p, q) != 2 * min(step, size - step):
            return
        # What is opposite on the other branch is known once the branches are half way home.
        if 2 * step >= size:
            opposite = size - step - 1
            if self.distance(p, right[opposite]) != size or self.distance(left[opposite], q) != size:
                return
        if step == size - 1:
            yield left + right
            return
        level = size - step - 1
        for a in self.near(p):
            if levels.get(a) == level:
                for b in self.near(q):
                    if levels.get(b) == level:
                        yield from self.closed([*left, a], [*right, b], size, levels)
