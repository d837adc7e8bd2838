"""The network that centers and anions form: Q^n, sharing, bridges, angles, rings and the link balance."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import combinations, combinations_with_replacement
from typing import Literal

import numpy as np
from pydantic import Field

from laoc_flows.analysis.structure.bonds import CENTER, LIGANDS, BondTable, bonds
from laoc_flows.analysis.structure.rings import MAX_RING, RingStatistics, ring_statistics
from laoc_flows.analysis.structure.tetrahedra import COORDINATION
from laoc_flows.analysis.trajectories.frame import Column, FloatArray, Frame, Result, StructureLike, as_frame
from laoc_flows.errors import InputError

ANGLE_BIN = 2.0
"""Width of a bin of the angle histograms [degrees]."""

_HALF_TURN = 180.0


class Angles(Result):
    """Angles of one kind."""

    value: Column = Field(description="Every angle [degrees], ascending, shape (n_angles,).")
    histogram: Column = Field(
        description="Number of angles per bin of `NetworkResult.angle_edges`, shape (n_bins,)."
    )
    mean: float | None = Field(description="Mean [degrees]; None without angles.")
    standard_deviation: float | None = Field(
        description="Standard deviation over the angles [degrees]; None without angles."
    )


class NetworkResult(Result):
    """The network of one structure; all counts are per cell."""

    status: Literal["ok", "empty"] = Field(description="'empty' without centers.")
    reason: str = Field(description="Why the status is what it is.")
    center: str = Field(description="Element of the centers.")
    ligands: tuple[str, ...] = Field(description="Elements of the ligands.")
    bond_cutoffs: dict[str, float] = Field(description="Ligand to its bond cutoff [A].")
    coordination: int = Field(description="Bonds of a regular center, for the ideal link number.", ge=1)
    n_centers: int = Field(description="Number of centers.", ge=0)
    n_anions: dict[str, int] = Field(description="Ligand to the number of its atoms.")
    mean_coordination: float | None = Field(description="Mean bonds of a center; None without centers.")
    q_counts: dict[int, int] = Field(
        description="n to the number of centers with n bonds to bridging anions (Q^n), from 0 to the largest n."
    )
    q_fractions: dict[int, float] = Field(description="n to the share of all centers; empty without centers.")
    n_corner_links: int = Field(description="Pairs (with image) that share one anion.", ge=0)
    n_edge_links: int = Field(description="Pairs (with image) that share two anions.", ge=0)
    n_face_links: int = Field(description="Pairs (with image) that share three or more anions.", ge=0)
    free: dict[str, int] = Field(
        description="Ligand to the number of its atoms bonded to no center (c_a = 0)."
    )
    terminal: dict[str, int] = Field(description="Ligand to the number of its atoms with one bond (c_a = 1).")
    bridges: dict[str, int] = Field(
        description="Ligand to the number of its atoms with c_a >= 2, tri-clusters included."
    )
    triclusters: dict[str, int] = Field(description="Ligand to the number of its atoms with c_a = 3.")
    links_per_center: float | None = Field(
        description="Link number: sum over anions of max(c_a - 1, 0), per center; None without centers."
    )
    ideal_links_per_center: float | None = Field(
        description="Link number if every center had `coordination` bonds and no anion were free: coordination - "
        "n_anions / n_centers, that is 1 - x + y; below 0 anions must be free. None without centers."
    )
    sum_rule: tuple[int, int] = Field(description="Both sides of the sum rule, see `BondTable.sum_rule`.")
    angle_edges: Column = Field(description="Edges of the bins of the angle histograms [degrees].")
    center_angles: dict[str, Angles] = Field(
        description="Angles at the centers, such as 'O-Al-Cl', by their ligands."
    )
    bridge_angles: dict[str, Angles] = Field(
        description="Angles at the anions, such as 'Al-O-Al', by ligand."
    )
    rings: RingStatistics = Field(description="Primitive rings.")


def network(
    structure: StructureLike,
    center: str = CENTER,
    ligands: Sequence[str] = LIGANDS,
    cutoffs: Mapping[str, float] | None = None,
    *,
    coordination: int = COORDINATION,
    max_ring: int = MAX_RING,
    angle_bin: float = ANGLE_BIN,
) -> NetworkResult:
    """Describe the network that centers form through shared anions.

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
    coordination : int, default 4
        Bonds of a regular center, for the ideal link number.
    max_ring : int, default 8
        Largest ring to look for, in centers.
    angle_bin : float, default 2.0
        Width of a bin of the angle histograms [degrees]; the last bin may be narrower.

    Returns
    -------
    NetworkResult
        With zeros and empty columns where an element is absent.

    Raises
    ------
    InputError
        When a cutoff is missing or not positive, `coordination` is below 1, `max_ring` below 2, or `angle_bin` not
        between 0 and 180 degrees.

    Notes
    -----
    n of Q^n counts bonds to bridging anions, so that two Q^2 centers may share an edge or lie in a chain of corners.
    Rings are those of `rings.rings`.

    Examples
    --------
    >>> from ase import Atoms
    >>> pair = Atoms(
    ...     "Al2Cl2", [[1.6, 0, 0], [-1.6, 0, 0], [0, 1.5, 0], [0, -1.5, 0]], cell=[20, 20, 20], pbc=True
    ... )
    >>> result = network(pair)
    >>> result.q_counts, result.n_edge_links, result.rings.counts[2]
    ({0: 0, 1: 0, 2: 2}, 1, 1)
    >>> round(result.bridge_angles["Al-Cl-Al"].mean, 1)
    93.7
    """
    if coordination < 1 or not 0 < angle_bin <= _HALF_TURN:
        message = f"{coordination = } and {angle_bin = } are not a number of bonds and a width in degrees"
        raise InputError(message)
    frame = as_frame(structure)
    table = bonds(frame, center, ligands, cutoffs)
    n = table.n_centers
    n_anions = Counter(table.anion_species)
    q = np.bincount(table.bridging_per_center) if n else np.empty(0, dtype=np.int64)
    # Rounded, and shortened at the end: the last edge is 180 degrees whatever the width.
    edges = np.append(angle_bin * np.arange(math.ceil(_HALF_TURN / angle_bin - 1e-9)), _HALF_TURN)
    at_centers, at_anions = _angles(frame, table)
    return NetworkResult(
        status="ok" if n else "empty",
        reason=f"{n} {center}" if n else f"there is no {center}",
        center=center,
        ligands=tuple(ligands),
        bond_cutoffs=table.cutoffs,
        coordination=coordination,
        n_centers=n,
        n_anions={symbol: n_anions[symbol] for symbol in ligands},
        mean_coordination=table.n_bonds / n if n else None,
        q_counts=dict(enumerate(q.tolist())),
        q_fractions={k: count / n for k, count in enumerate(q.tolist())},
        n_corner_links=table.n_corner_links,
        n_edge_links=table.n_edge_links,
        n_face_links=table.n_face_links,
        free=_by_ligand(table, 0, 0),
        terminal=_by_ligand(table, 1, 1),
        bridges=table.n_bridges,
        triclusters=_by_ligand(table, 3, 3),
        links_per_center=table.links_per_center,
        ideal_links_per_center=coordination - len(table.anion_indices) / n if n else None,
        sum_rule=table.sum_rule(),
        angle_edges=edges,
        center_angles={name: _summary(values, edges) for name, values in at_centers.items()},
        bridge_angles={name: _summary(values, edges) for name, values in at_anions.items()},
        rings=ring_statistics(table, max_ring),
    )


def _by_ligand(table: BondTable, low: int, high: int) -> dict[str, int]:
    """Count the anions of each ligand with a number of bonds between two limits."""
    pairs = zip(table.anion_species, table.anion_coordination, strict=True)
    found = Counter(symbol for symbol, c in pairs if low <= c <= high)
    return {ligand: found[ligand] for ligand in table.cutoffs}


def _angles(frame: Frame, table: BondTable) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Return all angles at centers and at anions, by their names."""
    order, center = tuple(table.cutoffs), table.center
    at_centers: dict[str, list[float]] = {
        f"{a}-{center}-{b}": [] for a, b in combinations_with_replacement(order, 2)
    }
    at_anions: dict[str, list[float]] = {f"{center}-{a}-{center}": [] for a in order}
    i, a = np.array(table.bond_center, dtype=np.int64), np.array(table.bond_anion, dtype=np.int64)
    image = np.array(table.bond_image, dtype=np.float64).reshape(-1, 3)
    vector = frame.positions[a] + image @ frame.cell - frame.positions[i]
    vector /= np.array(table.bond_distance).reshape(-1, 1)
    for end, names in ((i, at_centers), (a, at_anions)):
        groups = np.split(np.argsort(end, kind="stable"), np.flatnonzero(np.diff(np.sort(end))) + 1)
        for group in groups:
            for p, q in combinations(group.tolist(), 2):
                first, second = sorted((frame.species[a[p]], frame.species[a[q]]), key=order.index)
                name = f"{first}-{center}-{second}" if names is at_centers else f"{center}-{first}-{center}"
                names[name].append(_angle(vector[p], vector[q]))
    return at_centers, at_anions


def _angle(u: FloatArray, v: FloatArray) -> float:
    """Return the angle between two unit vectors [degrees], exact also near 0 and 180."""
    return math.degrees(2 * math.atan2(float(np.linalg.norm(u - v)), float(np.linalg.norm(u + v))))


def _summary(values: list[float], edges: FloatArray) -> Angles:
    return Angles(
        value=np.array(sorted(values), dtype=np.float64),
        histogram=np.histogram(values, edges)[0],
        mean=float(np.mean(values)) if values else None,
        standard_deviation=float(np.std(values)) if values else None,
    )
