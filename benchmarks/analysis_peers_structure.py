"""g(r), and bonds, tetrahedra and chains, by us and by each peer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import combinations_with_replacement
from typing import Any, TypeAlias, TypeVar

import freud
import networkx as nx
import numpy as np
import numpy.typing as npt
from analysis_peers import DOUBLE, Case, structures_of, universe_of
from gemdat import Trajectory as GemdatTrajectory
from MDAnalysis.analysis.rdf import InterRDF
from pymatgen.analysis.diffusion.aimd.rdf import RadialDistributionFunctionFast
from pymatgen.core import Element, Structure
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from laoc_flows.analysis import BOND_CUTOFFS, CHAIN_CUTOFF, Trajectory, chains, tetrahedra
from laoc_flows.analysis.structure.rdf import RdfsResult, rdfs
from laoc_flows.analysis.structure.survey import SurveyResult, survey

BIN_WIDTH = 0.05
CHAINS = "bonds, tetrahedra, chains"

Summary: TypeAlias = list[tuple[dict[str, int], dict[int, int], dict[int, int]]]
"""For every frame: types of the centers, and sizes of the chains by distance and by bridge, with their numbers."""
Neighbors: TypeAlias = Callable[[Structure, list[int]], Iterator[tuple[int, int, float]]]
"""Yields center, neighbor and distance [A]."""

_Name = TypeVar("_Name", str, int)

# Rounding to single precision moves a distance over an edge of a bin now and then.
_SINGLE_G = 0.05
_FLICKER = 0.05


def rdf_cases(run: Trajectory, r_max: float) -> Iterator[Case]:
    """Yield the cases of g(r).

    Parameters
    ----------
    run : Trajectory
        Of Li, Al and Cl in a cubic cell.
    r_max : float
        Upper end of g(r), below half the cell, where all peers are defined [A].
    """
    n_bins = round(r_max / BIN_WIDTH)
    r_max = n_bins * BIN_WIDTH
    names = ("Al", "Cl", "Li")
    every = list(combinations_with_replacement(names, 2))
    one = ("Li", "Cl")
    length = float(run.cells[0, 0, 0])
    where = {symbol: run.indices(symbol) for symbol in names}
    centered = (run.positions - length * np.floor(run.positions / length) - length / 2).astype(np.float32)
    points = {symbol: [np.ascontiguousarray(x[where[symbol]]) for x in centered] for symbol in names}
    box = freud.box.Box.cube(length)
    universe = universe_of(run, run.positions)
    groups = [universe.select_atoms(f"name {symbol}") for symbol in one]
    structures = structures_of(run)
    fractional = run.positions @ np.linalg.inv(run.cells[0])
    gemdat_run = GemdatTrajectory(
        species=[Element(symbol) for symbol in run.species],
        coords=fractional,
        lattice=run.cells[0],
        time_step=1e-13,
    )
    edges = BIN_WIDTH * np.arange(n_bins + 1)
    # What theirs lack: the exact volume of a shell, and an atom not being a neighbor of itself.
    thick = np.diff(edges**3) / (3 * BIN_WIDTH * ((edges[:-1] + edges[1:]) / 2) ** 2)

    def freud_rdf(pairs: list[tuple[str, str]]) -> list[Any]:
        found = [
            freud.density.RDF(n_bins, r_max, normalization_mode="finite_size" if a == b else "exact")
            for a, b in pairs
        ]
        for k in range(run.n_frames):
            trees = {a: freud.locality.AABBQuery(box, points[a][k]) for a in {a for a, _ in pairs}}
            for rdf, (a, b) in zip(found, pairs, strict=True):
                rdf.compute(trees[a], None if a == b else points[b][k], reset=False)
        return [rdf.rdf for rdf in found]

    def pymatgen_rdfs() -> list[Any]:
        # On a grid of the bin centers its bins are ours.
        half = BIN_WIDTH / 2
        found = RadialDistributionFunctionFast(structures, half, r_max - half, n_bins)
        return [found.get_rdf(a, b)[1] for a, b in every]

    def gemdat_rdf() -> Any:
        found = gemdat_run.radial_distribution_between_species(
            specie_1=one[0], specie_2=one[1], max_dist=r_max - BIN_WIDTH / 2, resolution=BIN_WIDTH
        )
        return [found.y]

    def single(ours: RdfsResult, theirs: Any) -> float:
        return _difference(ours, [one], theirs)

    def corrected(ours: RdfsResult, theirs: Any) -> float:
        counts = [(len(where[b]) - (a == b)) / len(where[b]) for a, b in every]
        return _difference(ours, every, [g / (thick * n) for g, n in zip(theirs, counts, strict=True)])

    ours_one = lambda: rdfs(run, [one], r_max, BIN_WIDTH)  # noqa: E731
    ours_all = lambda: rdfs(run, every, r_max, BIN_WIDTH)  # noqa: E731
    reach = f"up to {r_max:.2f} A in bins of {BIN_WIDTH} A"
    same = f"g(r) of Li-Cl {reach}"
    yield Case(
        "g(r), one pair",
        "freud",
        run.n_frames,
        ours_one,
        lambda: freud_rdf([one]),
        single,
        _SINGLE_G,
        f"{same}; theirs in single precision and on one thread",
    )
    yield Case(
        "g(r), one pair",
        "MDAnalysis",
        run.n_frames,
        ours_one,
        lambda: [InterRDF(*groups, nbins=n_bins, range=(0.0, r_max)).run().results.rdf],
        single,
        _SINGLE_G,
        f"{same}; theirs in single precision",
    )
    yield Case("g(r), one pair", "GEMDAT", run.n_frames, ours_one, gemdat_rdf, single, DOUBLE, same)
    yield Case(
        "g(r), all pairs",
        "freud",
        run.n_frames,
        ours_all,
        lambda: freud_rdf(every),
        lambda ours, theirs: _difference(ours, every, theirs),
        _SINGLE_G,
        f"all six g(r) {reach}; theirs in single precision and on one thread",
    )
    yield Case(
        "g(r), all pairs",
        "pymatgen-analysis-diffusion",
        run.n_frames,
        ours_all,
        pymatgen_rdfs,
        corrected,
        DOUBLE,
        f"all six g(r) {reach}; compared with the exact volume of a shell and N - 1 in theirs too",
    )


def _difference(ours: RdfsResult, pairs: list[tuple[str, str]], theirs: Any) -> float:
    return max(float(np.abs(np.array(ours.of(*p).g) - g).max()) for p, g in zip(pairs, theirs, strict=True))


def _label(n_o: int, n_cl: int) -> str:
    """Name the type of an Al."""
    if n_o + n_cl != 4:
        return f"CN{n_o + n_cl}:O{n_o}Cl{n_cl}"
    return "Al" + "".join(s + (str(n) if n > 1 else "") for s, n in (("O", n_o), ("Cl", n_cl)) if n)


def _of_survey(result: SurveyResult) -> Summary:
    types = np.rint(result.type_fractions * result.n_centers).astype(int)
    near, bridged = (result.chains[rule] for rule in ("distance", "bridge"))
    return [
        (
            _occurring(result.type_labels, types[k]),
            _occurring(near.sizes, near.counts[k]),
            _occurring(bridged.sizes, bridged.counts[k]),
        )
        for k in range(len(types))
    ]


def _occurring(names: Iterable[_Name], counts: Any) -> dict[_Name, int]:
    return {name: int(n) for name, n in zip(names, counts, strict=True) if n}


def _loop(structures: list[Structure], neighbors: Neighbors) -> Summary:
    """Do in a loop over structures what a user of pymatgen and networkx writes."""
    species = [site.specie.symbol for site in structures[0]]
    centers = [k for k, symbol in enumerate(species) if symbol == "Al"]
    found: Summary = []
    for structure in structures:
        near, bridged = nx.Graph(), nx.Graph()
        near.add_nodes_from(centers)
        bridged.add_nodes_from(centers)
        numbers = {k: Counter[str]() for k in centers}
        hosts: dict[int, list[int]] = {}
        for i, j, distance in neighbors(structure, centers):
            other = species[j]
            if other == "Al":
                near.add_edge(i, j)
            elif distance < BOND_CUTOFFS.get(other, 0.0):
                numbers[i][other] += 1
                hosts.setdefault(j, []).append(i)
        for shared in hosts.values():
            nx.add_path(bridged, shared)
        types = Counter(_label(n["O"], n["Cl"]) for n in numbers.values())
        sizes = [Counter(len(part) for part in nx.connected_components(graph)) for graph in (near, bridged)]
        found.append((dict(types), dict(sizes[0]), dict(sizes[1])))
    return found


def _all_neighbors(structure: Structure, centers: list[int]) -> Iterator[tuple[int, int, float]]:
    around = structure.get_all_neighbors(CHAIN_CUTOFF)
    for i in centers:
        for neighbor in around[i]:
            yield i, neighbor.index, neighbor.nn_distance


def _neighbor_list(structure: Structure, centers: list[int]) -> Iterator[tuple[int, int, float]]:
    first, second, _, distance = structure.get_neighbor_list(CHAIN_CUTOFF)
    kept = np.isin(first, centers)
    return zip(first[kept].tolist(), second[kept].tolist(), distance[kept].tolist(), strict=True)


def _short_neighbor_list(structure: Structure, centers: list[int]) -> Iterator[tuple[int, int, float]]:
    sites = [structure[k] for k in centers]
    first, second, _, distance = structure.get_neighbor_list(CHAIN_CUTOFF, sites=sites)
    return zip(np.array(centers)[first].tolist(), second.tolist(), distance.tolist(), strict=True)


def _compiled(run: Trajectory, centered: npt.NDArray[np.float32]) -> Summary:
    """Do the same with the fastest searches and components that are to be had: freud and SciPy."""
    box = freud.box.Box.cube(float(run.cells[0, 0, 0]))
    centers = run.indices("Al")
    ligands = {symbol: run.indices(symbol) for symbol in BOND_CUTOFFS if symbol in run.species}
    n = centers.size
    found: Summary = []
    for x in centered:
        at = x[centers]
        near = freud.locality.AABBQuery(box, at).query(at, {"r_max": CHAIN_CUTOFF, "exclude_ii": True})
        pairs = near.toNeighborList()
        first, second, numbers, done = [], [], {}, n
        for symbol, members in ligands.items():
            cutoff = {"r_max": BOND_CUTOFFS[symbol]}
            bonds = freud.locality.AABBQuery(box, x[members]).query(at, cutoff).toNeighborList()
            first.append(bonds.query_point_indices)
            second.append(bonds.point_indices + done)
            numbers[symbol] = np.bincount(first[-1], minlength=n)
            done += members.size
        zero = np.zeros(n, dtype=int)
        kinds = zip(numbers.get("O", zero).tolist(), numbers.get("Cl", zero).tolist(), strict=True)
        types = {_label(*kind): number for kind, number in Counter(kinds).items()}
        by_distance = _sizes(pairs.query_point_indices, pairs.point_indices, n, n)
        found.append((types, by_distance, _sizes(np.concatenate(first), np.concatenate(second), n, done)))
    return found


def _sizes(first: Any, second: Any, n_centers: int, n_nodes: int) -> dict[int, int]:
    """Return the sizes of components in centers, each with its number."""
    graph = coo_array((np.ones(len(first), dtype=np.int8), (first, second)), shape=(n_nodes, n_nodes))
    labels = connected_components(graph, directed=False)[1][:n_centers]
    sizes = np.bincount(np.bincount(labels))
    return {k: int(sizes[k]) for k in np.flatnonzero(sizes).tolist() if k}


def chain_cases(run: Trajectory) -> Iterator[Case]:
    """Yield the cases of bonds, tetrahedra and chains.

    Parameters
    ----------
    run : Trajectory
        Of Li, Al and Cl in a cubic cell.
    """
    structures = structures_of(run)
    length = float(run.cells[0, 0, 0])
    centered = (run.positions - length * np.floor(run.positions / length) - length / 2).astype(np.float32)

    def one_by_one() -> Summary:
        return [
            (
                {label: n for label, n in tetrahedra(structure).counts.items() if n},
                chains(structure, "distance").counts,
                chains(structure, "bridge").counts,
            )
            for structure in structures
        ]

    def differing(ours: SurveyResult | Summary, theirs: Summary) -> float:
        summary = _of_survey(ours) if isinstance(ours, SurveyResult) else ours
        return float(np.mean([a != b for a, b in zip(summary, theirs, strict=True)]))

    extra = "ours is survey(), which also finds percolation, sharing, Q^n and debounced chains"
    loops: dict[str, tuple[Neighbors, str]] = {
        "pymatgen get_all_neighbors": (_all_neighbors, "of all sites"),
        "pymatgen get_neighbor_list": (_neighbor_list, "of all sites, as arrays"),
        "pymatgen get_neighbor_list around Al": (_short_neighbor_list, "of the Al alone, as arrays"),
    }
    for peer, (neighbors, what) in loops.items():
        yield Case(
            CHAINS,
            peer,
            run.n_frames,
            lambda: survey(run),
            partial(_loop, structures, neighbors),
            differing,
            0.0,
            f"neighbors {what}, in a loop over structures with networkx; {extra}",
        )
    yield Case(
        CHAINS,
        "freud + SciPy",
        run.n_frames,
        lambda: survey(run),
        lambda: _compiled(run, centered),
        differing,
        _FLICKER,
        f"the fastest loop we could write without us, single precision; {extra}",
    )
    yield Case(
        f"{CHAINS}, single structures",
        "pymatgen get_neighbor_list",
        run.n_frames,
        one_by_one,
        partial(_loop, structures, _neighbor_list),
        differing,
        0.0,
        "tetrahedra() and twice chains() of pymatgen structures, with typed results",
    )
