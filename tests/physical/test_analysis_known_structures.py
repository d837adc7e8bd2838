"""Structures whose coordination is known: crystals, fcc, rock salt, the ideal gas."""

import gzip
import json
import time
from collections import Counter
from itertools import combinations, product
from pathlib import Path

import networkx as nx
import numpy as np
import pymatgen.analysis.prototypes
import pytest
from ase.build import bulk
from pymatgen.core import Lattice, Structure

from laoc_flows.analysis import (
    DISTANCE_FLOORS,
    Frame,
    Trajectory,
    bonds,
    chains,
    coordination_number,
    distance_check,
    first_shell,
    min_distance_ratio,
    pairs,
    rdf,
    reaction_check,
    rule_disagreement,
    tetrahedra,
)
from laoc_flows.analysis.structure.network import network
from laoc_flows.analysis.structure.rings import rings


@pytest.fixture(scope="module")
def crystal():
    """LiAlCl4, P2_1/c: Mairesse, Barbier and Vignacourt, Cryst. Struct. Commun. 6, 15 (1977); COD 1004036."""
    return Structure.from_spacegroup(
        "P2_1/c",
        Lattice.monoclinic(7.007, 6.504, 12.995, 93.32),
        ["Li", "Al", "Cl", "Cl", "Cl", "Cl"],
        [
            [0.15688, 0.98308, 0.36658],
            [0.70588, 0.32198, 0.89924],
            [0.69400, 0.18329, 0.04695],
            [0.80902, 0.62835, 0.92849],
            [0.92580, 0.18160, 0.81372],
            [0.43947, 0.31364, 0.81280],
        ],
    )


def test_crystal_distances(crystal):
    assert crystal.volume == pytest.approx(591.2, abs=0.1)
    al_cl = pairs(crystal, "Al", "Cl", 2.8).distance
    assert len(al_cl) == 16
    assert (al_cl.min(), al_cl.max()) == pytest.approx((2.123, 2.154), abs=1e-3)
    li_cl = pairs(crystal, "Li", "Cl", 3.2).distance
    assert len(li_cl) == 24
    assert (li_cl.min(), li_cl.max()) == pytest.approx((2.45, 2.82), abs=5e-3)
    assert pairs(crystal, "Al", "Al", 6.0).distance.min() == pytest.approx(4.628, abs=1e-3)


def test_crystal_holds_isolated_tetrahedra(crystal):
    table = bonds(crystal)
    assert table.coordination == (4,) * 4
    assert table.sum_rule() == (0, 0)
    assert table.links_per_al == 0.0
    assert (table.n_free_anions, table.links) == (0, ())
    assert tetrahedra(crystal).counts == {"AlCl4": 4, "AlOCl3": 0, "AlO2Cl2": 0, "AlO3Cl": 0, "AlO4": 0}
    for rule in ("distance", "bridge"):
        assert chains(crystal, rule).isolated_fraction == 1.0
        assert chains(crystal, rule).counts == {1: 4}
    assert rule_disagreement(crystal).both == ()


def test_crystal_is_sane(crystal):
    assert reaction_check(crystal).passed
    assert distance_check(crystal).passed
    assert min_distance_ratio(crystal) == pytest.approx(2.1229 / DISTANCE_FLOORS["Al-Cl"], abs=1e-3)


def test_crystal_first_shell(crystal):
    rng = np.random.default_rng(0)
    positions = crystal.cart_coords + rng.normal(0, 0.08, (50, 24, 3))
    species = tuple(site.specie.symbol for site in crystal)
    thermal = Trajectory(species, positions, crystal.lattice.matrix, 1.0)
    g = rdf(thermal, "Al", "Cl")
    shell = first_shell(g)
    assert shell.peak == pytest.approx(2.14, abs=0.08)
    assert 2.5 < shell.minimum < 3.9
    assert coordination_number(g, shell.minimum) == pytest.approx(4.0, abs=1e-9)


@pytest.mark.parametrize("cubic", [True, False])
def test_fcc_shells(cubic):
    a = 4.05
    result = rdf(bulk("Al", "fcc", a=a, cubic=cubic), "Al", "Al", r_max=8.0)
    numbers = np.cumsum([12, 6, 24, 12, 24, 8])
    shells = a * np.sqrt(np.arange(1, 7) / 2)
    for k, number in enumerate(numbers):
        middle = (shells[k] + (a * np.sqrt((k + 2) / 2))) / 2
        if middle < 8.0:
            assert coordination_number(result, middle) == pytest.approx(number)
    # One atom per cell has no g, but it has neighbors.
    assert result.status == ("ok" if cubic else "empty")


def test_rock_salt_shells():
    result = rdf(bulk("LiCl", "rocksalt", a=5.13, cubic=True), "Li", "Cl", r_max=7.0)
    assert coordination_number(result, 3.0) == pytest.approx(6)
    assert coordination_number(result, 5.0) == pytest.approx(6 + 8)
    assert coordination_number(result, 6.2) == pytest.approx(6 + 8 + 24)


def test_ideal_gas_has_g_of_one():
    rng = np.random.default_rng(1)
    cell = np.array([[12.0, 0, 0], [3, 11, 0], [-2, 4, 12]])
    gas = Trajectory(("Li",) * 60 + ("Cl",) * 40, rng.random((150, 100, 3)) @ cell, cell, 1.0)
    for a, b in (("Li", "Cl"), ("Cl", "Cl"), ("Li", "Li")):
        # Beyond half the cell, but short of the shortest lattice vector.
        result = rdf(gas, a, b, r_max=10.0, bin_width=0.5)
        assert np.abs(np.array(result.g)[4:] - 1).max() < 0.03
        volume = 4 / 3 * np.pi * 10.0**3
        ideal = (gas.species.count(b) - (a == b)) * volume / abs(np.linalg.det(cell))
        assert result.coordination[-1] == pytest.approx(ideal, rel=0.005)


def test_a_whole_run_takes_seconds():
    rng = np.random.default_rng(2)
    cell = 12.8 * np.eye(3)
    species = ("Li",) * 24 + ("Al",) * 16 + ("O",) * 12 + ("Cl",) * 48
    trajectory = Trajectory(species, rng.random((500, 100, 3)) * 12.8, cell, 0.1)
    start = time.process_time()
    rdf(trajectory, "Al", "Cl")
    for k in range(trajectory.n_frames):
        frame = trajectory.frame(k)
        assert isinstance(frame, Frame)
        assert tetrahedra(frame).n_al == chains(frame).n_al == 16
    assert time.process_time() - start < 15


@pytest.fixture(scope="module")
def prototypes():
    """Crystals of the AFLOW library, as pymatgen holds them, by their label."""
    path = Path(pymatgen.analysis.prototypes.__file__).parent / "aflow_prototypes.json.gz"
    with gzip.open(path, "rt") as file:
        return {entry["tags"]["aflow"]: Structure.from_dict(entry["snl"]) for entry in json.load(file)}


SILICA = {"center": "Si", "ligands": ("O",), "cutoffs": {"O": 2.0}}
QUARTZ, CRISTOBALITE, TRIDYMITE = "A2B_hP9_152_c_a", "A2B_tP12_92_b_a", "A2B_hP12_194_cg_f"
KEATITE, PYROXENE, SIS2, ALCL3 = (
    "A2B_tP36_96_3b_ab",
    "ABC6D2_mC40_15_e_e_3f_f",
    "A2B_oI12_72_j_a",
    "AB3_mC16_12_g_ij",
)


@pytest.fixture(scope="module")
def thiophosphate():
    """gamma-Li3PS4, Pmn2_1: Homma et al., Solid State Ionics 182, 53 (2011)."""
    return Structure.from_spacegroup(
        "Pmn2_1",
        Lattice.orthorhombic(7.70829, 6.53521, 6.1365),
        ["Li", "Li", "P", "S", "S", "S"],
        [
            [0.2502, 0.3309, 0.0179],
            [0, 0.145, 0.486],
            [0, 0.8218, 0.9942],
            [0.2185, 0.6717, 0.8857],
            [0, 0.1083, 0.888],
            [0, 0.8049, 0.3230],
        ],
    )


@pytest.mark.parametrize(
    ("label", "rings_per_center"),
    [
        (QUARTZ, {6: 6, 8: 40}),
        # The nets of diamond and of lonsdaleite: two rings of six at each of the six angles of a vertex.
        (CRISTOBALITE, {6: 12}),
        (TRIDYMITE, {6: 12}),
    ],
)
def test_frameworks_of_silica(prototypes, label, rings_per_center):
    crystal = prototypes[label]
    result = network(crystal, **SILICA)
    n = result.n_centers
    assert result.q_fractions[4] == 1.0
    assert (result.n_corner_links, result.n_edge_links, result.n_face_links) == (2 * n, 0, 0)
    assert result.links_per_center == result.ideal_links_per_center == 2.0
    assert (result.bridges, result.terminal, result.free) == ({"O": 2 * n}, {"O": 0}, {"O": 0})
    assert result.rings.per_center == {size: rings_per_center.get(size, 0) for size in range(2, 9)}
    assert tetrahedra(crystal, **SILICA).fractions == {"SiO4": 1.0}
    (part,) = chains(crystal, "bridge", center="Si", ligands=("O",), bond_cutoffs={"O": 2.0}).components
    assert (part.dimension, part.size, part.n_edges, part.shape) == (3, n, 2 * n, "percolating")


def rings_by_brute_force(crystal, atom, largest):
    """Every cycle of Si through one atom that networkx finds, kept if no short cut leads across it."""
    near = pairs(crystal, "Si", "Si", 3.5)
    rows = list(zip(near.i.tolist(), near.j.tolist(), near.image.tolist(), strict=True))
    graph = nx.Graph()
    for x in product(range(-5, 6), repeat=3):
        graph.add_edges_from(((i, *x), (j, x[0] + n[0], x[1] + n[1], x[2] + n[2])) for i, j, n in rows)
    root = (atom, 0, 0, 0)
    # Half a ring away from the atom, and as far again for short cuts.
    graph = nx.ego_graph(graph, root, radius=largest - 2)
    distance = dict(nx.all_pairs_shortest_path_length(graph, cutoff=largest // 2))
    without = nx.ego_graph(graph, root, radius=largest // 2)
    ends = list(without[root])
    without.remove_node(root)
    found = Counter()
    for a, b in combinations(ends, 2):
        for path in nx.all_simple_paths(without, a, b, cutoff=largest - 2):
            cycle = [root, *path]
            n = len(cycle)
            along = {(p, q): min(q - p, n - q + p) for p, q in combinations(range(n), 2)}
            found[n] += all(distance[cycle[p]].get(cycle[q]) == d for (p, q), d in along.items())
    return {size: number for size, number in found.items() if number}


def test_rings_against_all_cycles_of_a_cluster(prototypes):
    quartz = prototypes[QUARTZ]
    si = [k for k, site in enumerate(quartz) if site.specie.symbol == "Si"]
    assert rings_by_brute_force(quartz, si[0], 8) == {6: 6, 8: 40}
    keatite = prototypes[KEATITE]
    si = [k for k, site in enumerate(keatite) if site.specie.symbol == "Si"]
    total = Counter()
    for atom in si:
        total.update(rings_by_brute_force(keatite, atom, 7))
    ours = rings(keatite, **SILICA, max_size=7)
    assert {size: n / size for size, n in total.items()} == {s: n for s, n in ours.counts.items() if n}


def test_keatite_has_rings_of_five_seven_and_eight(prototypes):
    found = rings(prototypes[KEATITE], **SILICA).counts
    assert {size for size, number in found.items() if number} == {5, 7, 8}


def test_angles_of_quartz(prototypes):
    # Levien, Prewitt and Weidner, Am. Mineral. 65, 920 (1980): Si-O-Si 143.7, O-Si-O 108.8 to 110.5 degrees.
    result = network(prototypes[QUARTZ], **SILICA)
    assert result.bridge_angles["Si-O-Si"].value == pytest.approx([143.7] * 6, abs=0.3)
    inside = result.center_angles["O-Si-O"]
    assert inside.value.size == 18
    assert inside.mean == pytest.approx(109.47, abs=0.05)
    assert 108 < inside.value.min() < inside.value.max() < 111
    assert inside.histogram.sum() == 18


def test_pyroxene_is_chains_of_corners(prototypes):
    crystal = prototypes[PYROXENE]
    result = network(crystal, **SILICA)
    assert result.q_fractions == {0: 0.0, 1: 0.0, 2: 1.0}
    assert (result.n_corner_links, result.n_edge_links) == (result.n_centers, 0)
    assert sum(result.rings.counts.values()) == 0
    parts = chains(crystal, "bridge", center="Si", ligands=("O",), bond_cutoffs={"O": 2.0}).components
    assert {(part.dimension, part.n_edges == part.size, part.n_ends) for part in parts} == {(1, True, 0)}
    # Two bridging and two terminal O per Si.
    assert result.terminal["O"] == 2 * result.bridges["O"]


def test_silicon_disulfide_is_chains_of_edges(prototypes):
    crystal = prototypes[SIS2]
    roles = {"center": "Si", "ligands": ("S",)}
    result = network(crystal, **roles, cutoffs={"S": 2.6})
    assert result.q_fractions[4] == 1.0
    assert (result.n_corner_links, result.n_edge_links) == (0, result.n_centers)
    assert result.rings.per_center == {2: 2.0} | dict.fromkeys(range(3, 9), 0.0)
    parts = chains(crystal, "bridge", **roles, bond_cutoffs={"S": 2.6}).components
    assert {part.dimension for part in parts} == {1}
    assert result.bridge_angles["Si-S-Si"].mean == pytest.approx(80.8, abs=1.0)


def test_aluminum_chloride_is_layers_of_octahedra(prototypes):
    crystal = prototypes[ALCL3]
    result = network(crystal, coordination=6)
    assert result.mean_coordination == 6.0
    assert (result.n_corner_links, result.n_edge_links) == (0, 3 * result.n_centers // 2)
    # Honeycomb: three neighbors, and half a hexagon per Al.
    assert result.rings.counts == {2: 3, 3: 0, 4: 0, 5: 0, 6: 1, 7: 0, 8: 0}
    assert tetrahedra(crystal, coordination=6).fractions["AlCl6"] == 1.0
    assert tetrahedra(crystal).counts["CN6:O0Cl6"] == result.n_centers
    for rule in ("distance", "bridge"):
        (part,) = chains(crystal, rule).components
        assert (part.dimension, part.n_branch_points) == (2, part.size)


def test_thiophosphate_holds_isolated_tetrahedra(thiophosphate):
    roles = {"center": "P", "ligands": ("S",)}
    assert thiophosphate.composition.reduced_formula == "Li3PS4"
    assert tetrahedra(thiophosphate, **roles, cutoffs={"S": 2.6}).counts == {"PS4": 2}
    result = network(thiophosphate, **roles, cutoffs={"S": 2.6})
    assert (result.q_counts, result.links_per_center, result.ideal_links_per_center) == ({0: 2}, 0.0, 0.0)
    assert result.center_angles["S-P-S"].mean == pytest.approx(109.5, abs=0.5)
    assert chains(thiophosphate, cutoff=4.5, center="P").counts == {1: 2}
    assert chains(thiophosphate, "bridge", **roles, bond_cutoffs={"S": 2.6}).isolated_fraction == 1.0


@pytest.mark.parametrize(
    ("label", "center", "ligands", "cutoff"),
    [
        (QUARTZ, "Si", ("O",), 2.0),
        (PYROXENE, "Si", ("O",), 2.0),
        (SIS2, "Si", ("S",), 2.6),
        (ALCL3, "Al", ("Cl",), 2.8),
    ],
)
def test_crystals_do_not_depend_on_how_they_are_written(prototypes, label, center, ligands, cutoff):
    crystal = prototypes[label]
    roles = {"center": center, "ligands": ligands}
    bond_cutoffs = dict.fromkeys(ligands, cutoff)
    rng = np.random.default_rng(0)
    order = rng.permutation(len(crystal))
    moved = crystal.copy()
    moved.translate_sites(range(len(moved)), rng.random(3))
    sheared = Structure(
        Lattice(np.array([[1, 1, 0], [0, 1, 0], [0, -2, 1]]) @ crystal.lattice.matrix),
        crystal.species,
        crystal.cart_coords,
        coords_are_cartesian=True,
    )
    others = {
        "moved": moved,
        "permuted": Structure.from_sites([crystal[int(k)] for k in order]),
        "sheared": sheared,
        "Niggli": crystal.get_reduced_structure("niggli"),
        "supercell": crystal * (2, 1, 2),
    }
    expected = network(crystal, **roles, cutoffs=bond_cutoffs, max_ring=6)
    graph = chains(crystal, cutoff=4.2, center=center)
    assert coordination_number(rdf(crystal, center, center, r_max=5.0), 4.2) == pytest.approx(
        2 * graph.n_edges / graph.n_centers, abs=1e-12
    )
    for name, other in others.items():
        result = network(other, **roles, cutoffs=bond_cutoffs, max_ring=6)
        assert result.rings.per_center == expected.rings.per_center, name
        assert result.q_fractions == expected.q_fractions
        assert result.links_per_center == expected.links_per_center
        for ours, theirs in zip(result.bridge_angles.values(), expected.bridge_angles.values(), strict=True):
            assert ours.mean == pytest.approx(theirs.mean, abs=1e-6)
        for rule in ("distance", "bridge"):
            ours, theirs = (chains(s, rule, 4.2, center, ligands, bond_cutoffs) for s in (other, crystal))
            assert ours.dimension == theirs.dimension
            assert ours.n_edges / ours.n_centers == theirs.n_edges / theirs.n_centers
