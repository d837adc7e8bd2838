"""A survey of runs against pymatgen and networkx, in any cell, from a file, and in time."""

import time

import networkx as nx
import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from laoc_flows.analysis import BOND_CUTOFFS, CHAIN_CUTOFF, Trajectory
from laoc_flows.analysis.structure.survey import survey

UNIT = ("Li",) * 4 + ("Al",) * 4 + ("O",) * 3 + ("Cl",) * 10
DENSITY = 0.0586
"""Atoms per volume of a glass [1/A^3]."""


def liquid(n_units, n_frames, seed=0, amplitude=0.1):
    """Atoms without order that rattle about fixed places, in a skewed cell with the density of a glass."""
    rng = np.random.default_rng(seed)
    species = UNIT * n_units
    length = (len(species) / DENSITY) ** (1 / 3)
    cell = length * np.array([[1.0, 0, 0], [0.2, 1, 0], [-0.1, 0.3, 1]])
    places = rng.random((len(species), 3)) @ cell
    return Trajectory(species, places + rng.normal(0, amplitude, (n_frames, len(species), 3)), cell, 0.1)


def peer(frame):
    """Coordination, bridges and chains of one frame from pymatgen's neighbors and networkx's components."""
    crystal = Structure(Lattice(frame.cell), frame.species, frame.positions, coords_are_cartesian=True)
    i, j, _, distance = crystal.get_neighbor_list(CHAIN_CUTOFF)
    species = np.array(frame.species)
    bonded = np.zeros(len(i), dtype=bool)
    for ligand, cutoff in BOND_CUTOFFS.items():
        bonded |= (species[i] == "Al") & (species[j] == ligand) & (distance < cutoff)
    per_anion = np.bincount(j[bonded], minlength=len(species))
    near = nx.Graph()
    near.add_nodes_from(np.flatnonzero(species == "Al").tolist())
    aluminum = (species[i] == "Al") & (species[j] == "Al")
    near.add_edges_from(zip(i[aluminum].tolist(), j[aluminum].tolist(), strict=True))
    bridged = nx.Graph()
    bridged.add_nodes_from(near)
    holders = {}
    for center, anion in zip(i[bonded].tolist(), j[bonded].tolist(), strict=True):
        bridged.add_edges_from((center, other) for other in holders.setdefault(anion, []))
        holders[anion].append(center)
    return {
        "CN": [int((bonded & (species[j] == ligand)).sum()) for ligand in ("O", "Cl")],
        "bridges": [int((per_anion[species == ligand] > 1).sum()) for ligand in ("O", "Cl")],
        "free": [int((per_anion[species == ligand] == 0).sum()) for ligand in ("O", "Cl")],
        "edges": int(aluminum.sum()) // 2,
        "distance": sorted(map(len, nx.connected_components(near))),
        "bridge": sorted(map(len, nx.connected_components(bridged))),
    }


def test_parity_with_pymatgen_and_networkx():
    run = liquid(10, 5)
    result = survey(run)
    n_al = result.n_centers
    for k in range(run.n_frames):
        theirs = peer(run.frame(k))
        assert (result.mean_coordination[k] * n_al).round(9).tolist() == theirs["CN"]
        assert result.bridges[k].tolist() == theirs["bridges"]
        assert result.free_anions[k].tolist() == theirs["free"]
        assert result.chains["distance"].n_edges[k] == theirs["edges"]
        for rule in ("distance", "bridge"):
            series = result.chains[rule]
            sizes = np.repeat(series.sizes, series.counts[k]).tolist()
            assert sizes == theirs[rule]


def test_what_must_not_matter():
    run = liquid(4, 40)
    cell = run.cells[0]
    rng = np.random.default_rng(1)
    order = rng.permutation(run.n_atoms)
    expected = survey(run)
    assert expected.debounce_status == "ok"
    flickers = expected.chains["distance"].n_edges != expected.debounced["distance"].n_edges
    assert flickers.any()
    wrapped = np.mod(run.positions @ np.linalg.inv(cell), 1) @ cell
    shear = np.array([[1, 0, 0], [-1, 1, 0], [0, 2, 1]])
    same = {
        "moved": Trajectory(run.species, run.positions + np.array([3.0, -40.0, 7.0]), cell, 0.1),
        "drifting": Trajectory(run.species, run.positions + np.linspace(0, 60, 40)[:, None, None], cell, 0.1),
        "wrapped": Trajectory(run.species, wrapped, cell, 0.1),
        "permuted": Trajectory(tuple(run.species[k] for k in order), run.positions[:, order], cell, 0.1),
        "sheared": Trajectory(run.species, run.positions, shear @ cell, 0.1),
    }
    for name, other in same.items():
        result = survey(other)
        for field in type(result).model_fields:
            ours, theirs = getattr(result, field), getattr(expected, field)
            if isinstance(ours, np.ndarray):
                assert ours.tolist() == theirs.tolist(), (name, field)
        for kind in ("chains", "debounced"):
            for rule in ("distance", "bridge"):
                ours, theirs = getattr(result, kind)[rule], getattr(expected, kind)[rule]
                assert ours.model_dump_json() == theirs.model_dump_json(), (name, kind)


def test_supercell_and_time_reversal():
    run = liquid(2, 30)
    cell = run.cells[0]
    expected = survey(run)
    double = np.concatenate([run.positions, run.positions + cell[2]], axis=1)
    result = survey(Trajectory(run.species * 2, double, np.diag([1, 1, 2]) @ cell, 0.1))
    assert result.type_fractions.tolist() == expected.type_fractions.tolist()
    assert result.links.tolist() == (2 * expected.links).tolist()
    for rule in ("distance", "bridge"):
        for kind in ("chains", "debounced"):
            ours, theirs = getattr(result, kind)[rule], getattr(expected, kind)[rule]
            assert ours.n_edges.tolist() == (2 * theirs.n_edges).tolist()
            assert ours.dimension.tolist() == theirs.dimension.tolist()
    back = survey(Trajectory(run.species, run.positions[::-1], cell, 0.1))
    assert back.links_per_center.tolist() == expected.links_per_center[::-1].tolist()
    assert back.chains["bridge"].n_edges.tolist() == expected.chains["bridge"].n_edges[::-1].tolist()


def test_a_run_in_its_file(tmp_path):
    run = liquid(3, 50)
    path = run.write(tmp_path / "run.h5md", dtype="float64")
    with Trajectory.open(path) as series:
        assert survey(series).model_dump_json() == survey(run).model_dump_json()


def test_debounce_removes_the_flicker_of_a_cutoff():
    # Two Al that vibrate about the cutoff itself: the plain edge flips every few frames, the steady one hardly ever.
    rng = np.random.default_rng(0)
    steps = rng.normal(0, 1, 4000)
    x = np.zeros(4000)
    for k in range(1, 4000):
        x[k] = 0.7 * x[k - 1] + steps[k]
    positions = np.zeros((4000, 2, 3))
    positions[:, 1, 0] = CHAIN_CUTOFF + 0.1 * x
    result = survey(Trajectory(("Al", "Al"), positions, 30 * np.eye(3), 0.02))
    flips = {
        kind: int(np.abs(np.diff(getattr(result, kind)["distance"].n_edges)).sum())
        for kind in ("chains", "debounced")
    }
    assert flips["chains"] > 800
    assert flips["debounced"] < flips["chains"] / 40
    # Runs of either kind are equally long, so the debounce favors neither.
    assert result.chains["distance"].n_edges.mean() == pytest.approx(0.5, abs=0.05)


def test_a_whole_run_takes_seconds():
    run = liquid(5, 1500)
    survey(run.window(0, 1))
    start = time.process_time()
    result = survey(run)
    assert time.process_time() - start < 4
    assert result.time.size == 1500
