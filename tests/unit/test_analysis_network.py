"""Q^n, sharing, angles, rings and the link balance on hand-built structures."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laoc_flows.analysis import Frame, bonds
from laoc_flows.analysis.structure.network import network
from laoc_flows.analysis.structure.rings import rings
from laoc_flows.errors import InputError

CELL = 40 * np.eye(3)


def polygon(n, bond=3.0):
    """n Al in a ring, with one O in the middle of every side."""
    angle = 2 * np.pi * np.arange(n) / n
    radius = bond / (2 * np.sin(np.pi / n))
    al = radius * np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)
    return np.concatenate([al, (al + np.roll(al, -1, axis=0)) / 2]), ("Al",) * n + ("O",) * n


def random_frame(seed):
    rng = np.random.default_rng(seed)
    cell = np.diag(rng.uniform(4.0, 8.0, 3)) + rng.uniform(-1.5, 1.5, (3, 3))
    n_atoms = int(rng.integers(1, 16))
    species = tuple(rng.choice(["Li", "Al", "O", "Cl"], n_atoms, p=[0.1, 0.35, 0.2, 0.35]))
    return Frame(species, rng.uniform(-2, 2, (n_atoms, 3)) @ cell, cell)


def test_dimer_and_a_single_tetrahedron():
    # Al2Cl6 without its ends, an AlCl2 fragment, and a Cl of nobody.
    positions = [
        [1.6, 0, 0],
        [-1.6, 0, 0],
        [0, 1.5, 0],
        [0, -1.5, 0],
        [20, 0, 0],
        [22, 0, 0],
        [20, 2, 0],
        [0, 0, 20],
    ]
    frame = Frame(("Al", "Al", "Cl", "Cl", "Al", "Cl", "Cl", "Cl"), positions, CELL)
    result = network(frame)
    assert result.status == "ok"
    assert (result.n_corner_links, result.n_edge_links, result.n_face_links) == (0, 1, 0)
    assert result.q_counts == {0: 1, 1: 0, 2: 2}
    assert result.q_fractions == pytest.approx({0: 1 / 3, 1: 0, 2: 2 / 3})
    assert result.free == {"O": 0, "Cl": 1}
    assert result.terminal == {"O": 0, "Cl": 2}
    assert result.bridges == {"O": 0, "Cl": 2}
    assert result.triclusters == {"O": 0, "Cl": 0}
    assert result.sum_rule == (2, 2)
    assert result.links_per_center == pytest.approx(2 / 3)
    assert result.ideal_links_per_center == pytest.approx(4 - 5 / 3)
    bridge = 2 * np.degrees(np.arctan2(1.6, 1.5))
    assert result.bridge_angles["Al-Cl-Al"].value == pytest.approx([bridge, bridge])
    assert result.bridge_angles["Al-O-Al"].value.size == 0
    assert result.bridge_angles["Al-O-Al"].mean is None
    assert result.center_angles["Cl-Al-Cl"].value == pytest.approx([180 - bridge] * 2 + [90])
    assert result.rings.counts[2] == 1
    assert result.rings.centers_in_rings[2] == 2


def test_free_terminal_bridging_and_tricluster_anions():
    corners = 1.8 * np.array([[1, 0, 0], [-0.5, 0.75**0.5, 0], [-0.5, -(0.75**0.5), 0]])
    frame = Frame(("Al", "Al", "Al", "O", "Cl", "O"), [*corners, [0, 0, 0], [0, 0, 8], [1.8, 0, 1.7]], CELL)
    result = network(frame)
    assert (result.free, result.terminal) == ({"O": 0, "Cl": 1}, {"O": 1, "Cl": 0})
    assert (result.bridges, result.triclusters) == ({"O": 1, "Cl": 0}, {"O": 1, "Cl": 0})
    assert result.bridge_angles["Al-O-Al"].value == pytest.approx([120] * 3)
    # Three mutual corner links, but one anion is no ring.
    assert result.n_corner_links == 3
    assert sum(result.rings.counts.values()) == 0


def test_straight_and_right_angles_are_exact():
    frame = Frame(("Al", "O", "O", "Al"), [[0, 0, 0], [1.8, 0, 0], [0, 1.8, 0], [3.6, 0, 0]], CELL)
    result = network(frame, angle_bin=7.0)
    assert result.bridge_angles["Al-O-Al"].value.tolist() == [180.0]
    assert result.center_angles["O-Al-O"].value == pytest.approx([90.0], abs=1e-12)
    # 180 degrees lies in the last bin, which is narrower here.
    assert result.angle_edges[-1] == 180.0
    assert result.bridge_angles["Al-O-Al"].histogram[-1] == 1
    assert len(result.angle_edges) == 27


def test_one_anion_through_each_of_two_images_is_two_corners():
    frame = Frame(
        ("Al", "Al", "O", "O"), [[0, 0, 0], [3, 0, 0], [1.5, 0, 0], [4.5, 0, 0]], np.diag([6.0, 20.0, 20.0])
    )
    result = network(frame)
    assert (result.n_corner_links, result.n_edge_links) == (2, 0)
    assert result.q_counts == {0: 0, 1: 0, 2: 2}
    # The path through both closes on a lattice vector: a chain without end, not a ring of two.
    assert sum(result.rings.counts.values()) == 0


def test_face_sharing_is_one_ring_of_two():
    around = [[0, 1.4 * np.cos(t), 1.4 * np.sin(t)] for t in (0, 2 * np.pi / 3, 4 * np.pi / 3)]
    frame = Frame(("Al", "Al", "O", "O", "O"), [[1.3, 0, 0], [-1.3, 0, 0], *around], CELL)
    assert network(frame).n_face_links == 1
    assert rings(frame).counts[2] == 1


@pytest.mark.parametrize("n", [3, 4, 5, 6, 7, 8])
def test_a_polygon_is_one_ring(n):
    positions, species = polygon(n)
    found = rings(Frame(species, positions, 60 * np.eye(3)), cutoffs={"O": 1.6, "Cl": 1.6})
    assert found.counts == {size: int(size == n) for size in range(2, 9)}
    assert found.per_center[n] == 1.0
    assert found.centers_in_rings[n] == n
    # Too large to be looked for.
    if n > 3:
        assert sum(rings(Frame(species, positions, 60 * np.eye(3)), max_size=n - 1).counts.values()) == 0


@pytest.mark.parametrize("shift", [0.0, 29.9])
def test_a_short_cut_splits_a_ring(shift):
    # An octagon with O - Al - O between opposite corners: two rings of six, and the octagon is none.
    positions, species = polygon(8)
    bridge = positions[0] + np.array([[0.25], [0.5], [0.75]]) * (positions[4] - positions[0])
    frame = Frame((*species, "O", "Al", "O"), np.concatenate([positions, bridge]) + shift, 60 * np.eye(3))
    found = rings(frame, cutoffs={"O": 2.05, "Cl": 2.05})
    assert found.counts == {2: 0, 3: 0, 4: 0, 5: 0, 6: 2, 7: 0, 8: 0}
    assert found.centers_in_rings[6] == 9


def test_a_strip_that_closes_only_through_the_boundary_holds_no_ring():
    # A hexagon chain unrolled: six corner-sharing Al in a row, closed by the cell.
    x = 3.0 * np.arange(6)
    positions = np.concatenate([np.stack([v, 0 * v, 0 * v], axis=1) for v in (x, x + 1.5)])
    frame = Frame(("Al",) * 6 + ("O",) * 6, positions, np.diag([18.0, 20.0, 20.0]))
    assert sum(rings(frame).counts.values()) == 0


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_balance_of_any_structure(seed):
    frame = random_frame(seed)
    cutoffs = {"O": 3.0, "Cl": 3.4}
    result, table = network(frame, cutoffs=cutoffs, max_ring=3), bonds(frame, cutoffs=cutoffs)
    assert sum(result.q_counts.values()) == result.n_centers == table.n_centers
    for ligand, n in result.n_anions.items():
        assert result.free[ligand] + result.terminal[ligand] + result.bridges[ligand] == n
        assert result.triclusters[ligand] <= result.bridges[ligand]
    assert result.sum_rule[0] == result.sum_rule[1]
    n_angles = sum(c * (c - 1) // 2 for c in table.coordination)
    assert sum(part.value.size for part in result.center_angles.values()) == n_angles
    assert sum(int(part.histogram.sum()) for part in result.center_angles.values()) == n_angles
    n_bridges = sum(c * (c - 1) // 2 for c in table.anion_coordination)
    assert sum(part.value.size for part in result.bridge_angles.values()) == n_bridges
    if result.n_centers:
        # Measured against ideal: every bond too many and every free anion is a link more.
        excess = result.mean_coordination - 4 + sum(result.free.values()) / result.n_centers
        assert result.links_per_center - result.ideal_links_per_center == pytest.approx(excess, abs=1e-12)
    assert (
        type(result).model_validate_json(result.model_dump_json()).model_dump_json()
        == result.model_dump_json()
    )


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_rings_do_not_depend_on_the_cell(seed):
    rng = np.random.default_rng(seed)
    n_atoms = 12
    cell = np.diag(rng.uniform(5.0, 8.0, 3)) + rng.uniform(-1, 1, (3, 3))
    species = tuple(rng.choice(["Al", "O"], n_atoms))
    frame = Frame(species, rng.random((n_atoms, 3)) @ cell, cell)
    cutoffs = {"O": 2.6, "Cl": 2.6}
    found = rings(frame, cutoffs=cutoffs, max_size=4)
    order = rng.permutation(n_atoms)
    same = [
        Frame(species, frame.positions + rng.normal(0, 9, 3), cell),
        Frame(tuple(species[k] for k in order), frame.positions[order], cell),
        Frame(species, frame.positions, np.array([[1, 1, 0], [0, 1, -2], [0, 0, 1]]) @ cell),
    ]
    for other in same:
        assert rings(other, cutoffs=cutoffs, max_size=4).counts == found.counts
    double = Frame(
        species * 2, np.concatenate([frame.positions, frame.positions + cell[1]]), np.diag([1, 2, 1]) @ cell
    )
    assert rings(double, cutoffs=cutoffs, max_size=4).counts == {k: 2 * n for k, n in found.counts.items()}


@pytest.mark.parametrize("species", [("Li",), ("Cl", "O"), ("Al",), ("Al", "Al")])
def test_absent_species_give_typed_empty_results(species):
    frame = Frame(species, 5.0 * np.arange(len(species))[:, None] * np.ones(3), CELL)
    result = network(frame)
    n_al = species.count("Al")
    assert result.status == ("ok" if n_al else "empty")
    assert result.n_centers == n_al
    assert result.q_counts == ({0: n_al} if n_al else {})
    assert result.links_per_center == (0.0 if n_al else None)
    assert (result.ideal_links_per_center is None) == (n_al == 0)
    assert sum(result.rings.counts.values()) == 0
    assert sum(result.free.values()) == len(species) - n_al - species.count("Li")


@pytest.mark.parametrize(
    "bad", [{"coordination": 0}, {"angle_bin": 0.0}, {"angle_bin": 181.0}, {"max_ring": 1}, {"center": "P"}]
)
def test_bad_input(bad):
    with pytest.raises(InputError):
        network(Frame(("Al",), [[0, 0, 0]], CELL), **bad)
