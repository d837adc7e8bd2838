"""Bonds, sharing, tetrahedra and chains on hand-built and random structures."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laoc_flows.analysis import (
    TETRAHEDRA,
    Frame,
    bonds,
    chains,
    coordination_number,
    pairs,
    rdf,
    rule_disagreement,
    tetrahedra,
)
from laoc_flows.analysis.structure.bonds import assign_roles
from laoc_flows.analysis.structure.tetrahedra import numbered_type, regular_types, type_label, type_numbers
from laoc_flows.errors import InputError

DIMER = Frame(
    ("Al", "Al") + ("Cl",) * 6,
    np.array(
        [
            [1.6, 0, 0],
            [-1.6, 0, 0],
            [0, 1.5, 0],
            [0, -1.5, 0],
            [2.7, 0, 1.8],
            [2.7, 0, -1.8],
            [-2.7, 0, 1.8],
            [-2.7, 0, -1.8],
        ]
    ),
    15 * np.eye(3),
)


def network(directions, bond=1.75):
    """One Al at the origin and an O halfway along each of the given axes, in a cell of two bonds there."""
    lengths = [2 * bond if axis in directions else 20.0 for axis in range(3)]
    oxygen = [bond * np.eye(3)[axis] for axis in directions]
    return Frame(("Al",) + ("O",) * len(directions), [[0, 0, 0], *oxygen], np.diag(lengths))


def random_frame(seed):
    """A dense random structure in a small skewed cell, where pairs are bonded through several images."""
    rng = np.random.default_rng(seed)
    cell = np.diag(rng.uniform(3.0, 7.0, 3)) + rng.uniform(-1.5, 1.5, (3, 3))
    n_atoms = int(rng.integers(1, 16))
    species = tuple(rng.choice(["Li", "Al", "O", "Cl"], n_atoms, p=[0.1, 0.35, 0.2, 0.35]))
    return Frame(species, rng.uniform(-2, 2, (n_atoms, 3)) @ cell, cell)


def repeat(frame, n):
    shifts = np.array(list(np.ndindex(*n))) @ frame.cell
    positions = (frame.positions[None] + shifts[:, None]).reshape(-1, 3)
    return Frame(frame.species * len(shifts), positions, np.diag(n) @ frame.cell)


def test_dimer_shares_an_edge():
    table = bonds(DIMER)
    assert table.coordination == (4, 4)
    assert table.coordination_by_ligand == {"O": (0, 0), "Cl": (4, 4)}
    assert table.anion_coordination == (2, 2, 1, 1, 1, 1)
    assert (table.n_corner_links, table.n_edge_links, table.n_face_links) == (0, 1, 0)
    assert table.bridging_per_center == (2, 2)
    assert table.n_bridges == {"O": 0, "Cl": 2}
    assert table.sum_rule() == (2, 2)
    assert table.links_per_al == 1.0
    assert tetrahedra(DIMER).fractions["AlCl4"] == 1.0
    for rule in ("distance", "bridge"):
        result = chains(DIMER, rule)
        assert [part.atoms for part in result.components] == [(0, 1)]
        assert (result.components[0].dimension, result.components[0].cyclomatic_number) == (0, 0)
        assert result.components[0].n_ends == 2
        assert result.isolated_fraction == 0.0


@pytest.mark.parametrize("directions", [(0,), (0, 1), (0, 1, 2)])
@pytest.mark.parametrize("n", [(1, 1, 1), (2, 3, 2)])
def test_networks_percolate(directions, n):
    frame = repeat(network(directions), n)
    dimension = len(directions)
    for rule in ("distance", "bridge"):
        result = chains(frame, rule)
        assert result.dimension == dimension
        assert {part.dimension for part in result.components} == {dimension}
        assert result.isolated_fraction == 0.0
        assert 2 * result.n_edges / result.n_al == 2 * dimension
    table = bonds(frame)
    assert table.n_corner_links == len(table.links) == dimension * result.n_al
    assert table.links_per_al == dimension
    assert set(tetrahedra(frame).labels) == {
        "AlO4" if dimension == 2 else f"CN{2 * dimension}:O{2 * dimension}Cl0"
    }


def test_one_anion_through_each_of_two_images_is_two_corners():
    frame = Frame(
        ("Al", "Al", "O", "O"), [[0, 0, 0], [3, 0, 0], [1.5, 0, 0], [4.5, 0, 0]], np.diag([6.0, 20.0, 20.0])
    )
    links = bonds(frame).links
    assert [(link.i, link.j, link.image, link.n_shared) for link in links] == [
        (0, 1, (-1, 0, 0), 1),
        (0, 1, (0, 0, 0), 1),
    ]
    assert bonds(frame).n_edge_links == 0
    (chain,) = chains(frame, "bridge").components
    assert (chain.size, chain.n_edges, chain.cyclomatic_number, chain.dimension) == (2, 2, 1, 1)


def test_tricluster_and_free_anion():
    corners = 1.8 * np.array([[1, 0, 0], [-0.5, 0.75**0.5, 0], [-0.5, -(0.75**0.5), 0]])
    frame = Frame(("Al", "Al", "Al", "O", "Cl"), [*corners, [0, 0, 0], [0, 0, 8]], 20 * np.eye(3))
    table = bonds(frame)
    assert (table.n_triclusters, table.n_free_anions) == (1, 1)
    assert table.n_bridges == {"O": 1, "Cl": 0}
    assert table.sum_rule() == (2, 2)
    result = chains(frame, "bridge")
    assert result.components[0].cyclomatic_number == 1
    assert tetrahedra(frame).counts["CN1:O1Cl0"] == 3


def test_face_sharing():
    ring = [[0, 1.4 * np.cos(t), 1.4 * np.sin(t)] for t in (0, 2 * np.pi / 3, 4 * np.pi / 3)]
    frame = Frame(("Al", "Al", "O", "O", "O"), [[1.3, 0, 0], [-1.3, 0, 0], *ring], 20 * np.eye(3))
    assert bonds(frame).n_face_links == 1
    assert bonds(frame).sum_rule() == (3, 3)


def line(gaps):
    """Al atoms in a row with given gaps, without anions."""
    x = np.concatenate([[0.0], np.cumsum(gaps)])
    positions = np.stack([x, 0 * x, 0 * x], axis=1)
    return Frame(("Al",) * len(x), positions, np.diag([x[-1] + 20, 30, 30]))


def test_chain_histograms_by_hand():
    # Sizes 3, 2 and two singles: 7 Al in 4 components.
    result = chains(line([4.0, 4.1, 5.0, 3.0, 9.0, 9.0]))
    assert [part.size for part in result.components] == [3, 2, 1, 1]
    assert result.counts == {1: 2, 2: 1, 3: 1}
    assert result.number_histogram == pytest.approx({1: 0.5, 2: 0.25, 3: 0.25})
    assert result.al_histogram == pytest.approx({1: 2 / 7, 2: 2 / 7, 3: 3 / 7})
    assert result.isolated_fraction == pytest.approx(2 / 7)
    assert result.number_average_size == pytest.approx(7 / 4)
    assert result.weight_average_size == pytest.approx((9 + 4 + 2) / 7)
    assert (result.components[0].n_ends, result.components[0].n_branch_points) == (2, 0)


def test_branch_points_and_images_make_a_chain_whole():
    center = np.array([19.9, 0.1, 0.1])
    arms = 4.0 * np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0]])
    frame = Frame(("Al",) * 4, np.mod(np.array([center, *(center + arms)]), 20.0), 20 * np.eye(3))
    (part,) = chains(frame).components
    assert (part.n_branch_points, part.n_ends, part.cyclomatic_number) == (1, 3, 0)
    whole = frame.positions + np.array(part.images) @ frame.cell
    assert np.linalg.norm(whole[1:] - whole[0], axis=1) == pytest.approx([4.0] * 3)


def test_disagreement_of_the_rules():
    # Al0-Al1: near without an anion. Al1-Al2: bridged by a Cl but 4.6 A apart. Al2-Al3: both.
    x = [0.0, 4.0, 8.6, 11.8]
    positions = [[v, 0, 0] for v in x] + [[6.3, 1.3, 0], [10.2, 1.5, 0]]
    frame = Frame(("Al",) * 4 + ("Cl", "Cl"), positions, 30 * np.eye(3))
    found = rule_disagreement(frame)
    assert found.distance_only == ((0, 1, (0, 0, 0)),)
    assert found.bridge_only == ((1, 2, (0, 0, 0)),)
    assert found.both == ((2, 3, (0, 0, 0)),)


@settings(max_examples=300, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_sum_rule_holds_for_any_structure(seed):
    frame = random_frame(seed)
    table = bonds(frame, cutoffs={"O": 3.5, "Cl": 4.5})
    left, right = table.sum_rule()
    n_anions = sum(s in ("O", "Cl") for s in frame.species)
    assert left == right == sum(table.coordination) - (n_anions - table.n_free_anions)
    # Every anion with c bonds makes c (c - 1) / 2 shared corners, each counted in one link.
    assert sum(link.n_shared for link in table.links) == sum(
        c * (c - 1) // 2 for c in table.anion_coordination
    )
    assert sum(table.coordination) == sum(table.anion_coordination) == table.n_bonds


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_graph_identity_with_the_integral_of_g(seed):
    frame = random_frame(seed)
    graph = chains(frame)
    integral = coordination_number(rdf(frame, "Al", "Al", r_max=5.0), 4.2)
    if graph.n_al == 0:
        assert integral is None
    else:
        assert integral == pytest.approx(2 * graph.n_edges / graph.n_al, abs=1e-12)
        assert sum(part.size for part in graph.components) == graph.n_al
        assert sum(part.n_edges for part in graph.components) == graph.n_edges


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.sampled_from([(2, 1, 1), (1, 2, 2), (3, 1, 2)]))
def test_invariance(seed, n):
    frame = random_frame(seed)
    rng = np.random.default_rng(seed + 1)
    order = rng.permutation(frame.n_atoms)
    others = [
        Frame(frame.species, frame.positions + rng.normal(0, 10, 3), frame.cell),
        Frame(tuple(frame.species[k] for k in order), frame.positions[order], frame.cell),
        repeat(frame, n),
    ]
    types, table, graph = tetrahedra(frame), bonds(frame), chains(frame)
    sizes = sorted((part.size, part.dimension) for part in graph.components)
    for k, other in enumerate(others):
        assert tetrahedra(other).fractions == pytest.approx(types.fractions)
        assert bonds(other).links_per_al == pytest.approx(table.links_per_al)
        assert chains(other).isolated_fraction == pytest.approx(graph.isolated_fraction)
        assert chains(other).dimension == graph.dimension
        if graph.n_al:
            assert chains(other).n_edges / chains(other).n_al == pytest.approx(graph.n_edges / graph.n_al)
        if k < 2:
            assert sorted((part.size, part.dimension) for part in chains(other).components) == sizes


@pytest.mark.parametrize("species", [("Li",), ("Cl", "Cl"), ("Al",), ("Al", "Li")])
def test_absent_species_give_typed_empty_results(species):
    positions = 5.0 * np.arange(len(species))[:, None] * np.ones(3)
    frame = Frame(species, positions, 30 * np.eye(3))
    table, types = bonds(frame), tetrahedra(frame)
    assert table.sum_rule() == (0, 0)
    assert table.links == ()
    n_al = species.count("Al")
    assert table.n_centers == types.n_al == n_al
    assert table.links_per_al == (0.0 if n_al else None)
    assert set(types.counts) >= set(TETRAHEDRA)
    assert sum(types.fractions.values()) == (1.0 if n_al else 0)
    for rule in ("distance", "bridge"):
        assert chains(frame, rule).isolated_fraction == (1.0 if n_al else None)
    assert type(table).model_validate_json(table.model_dump_json()) == table
    assert type(types).model_validate_json(types.model_dump_json()) == types


def test_results_survive_json():
    for result in (bonds(DIMER), chains(DIMER), tetrahedra(DIMER), rule_disagreement(DIMER)):
        assert type(result).model_validate_json(result.model_dump_json()) == result


def test_other_centers_and_bad_input():
    frame = Frame(("Li", "Cl"), [[0, 0, 0], [2.5, 0, 0]], 20 * np.eye(3))
    assert bonds(frame, "Li", ("Cl",), {"Cl": 3.4}).coordination == (1,)
    assert bonds(frame, "Li", ()).coordination == (0,)
    assert len(pairs(frame, "Li", "Cl", 3.4).i) == 1
    with pytest.raises(InputError, match="cutoffs"):
        bonds(frame, "Li", ("S",))
    with pytest.raises(InputError, match="cutoffs"):
        bonds(frame, "Cl", ("Cl",))
    with pytest.raises(InputError, match="neither"):
        chains(frame, "other")


def test_only_al_has_defaults():
    frame = Frame(("Li", "Cl"), [[0, 0, 0], [2.5, 0, 0]], 20 * np.eye(3))
    for call in (
        lambda: bonds(frame, "Li", ("Cl",)),
        lambda: tetrahedra(frame, "Li", ("Cl",)),
        lambda: chains(frame, "bridge", center="Li", ligands=("Cl",)),
        lambda: bonds(frame, "Al", ("S",)),
    ):
        with pytest.raises(InputError, match="cutoffs"):
            call()
    with pytest.raises(InputError, match="no default distance"):
        chains(frame, center="Li")
    with pytest.raises(InputError, match="no default distance"):
        rule_disagreement(frame, center="Li", ligands=("Cl",), bond_cutoffs={"Cl": 3.0})
    assert chains(frame, cutoff=3.0, center="Li").isolated_fraction == 1.0
    assert chains(frame, "bridge", center="Li", ligands=("Cl",), bond_cutoffs={"Cl": 3.0}).n_centers == 1


@pytest.mark.parametrize("cutoff", [0.0, -1.0, np.inf, np.nan])
def test_cutoffs_are_positive(cutoff):
    with pytest.raises(InputError, match="positive"):
        bonds(DIMER, cutoffs={"O": 2.4, "Cl": cutoff})
    with pytest.raises(InputError, match="positive"):
        chains(DIMER, cutoff=cutoff)
    with pytest.raises(InputError, match="positive"):
        chains(DIMER, "bridge", bond_cutoffs={"O": cutoff, "Cl": 2.8})


def test_roles_sort_the_atoms():
    roles = assign_roles(("Li", "Cl", "Al", "O", "Al"))
    assert (roles.centers.tolist(), roles.anions.tolist()) == ([2, 4], [1, 3])
    assert roles.ligand_of_anion.tolist() == [1, 0]
    # Symmetric, and nothing but center-ligand contacts.
    assert (roles.table == roles.table.T).all()
    assert roles.table.nonzero()[0].tolist() == [0, 0, 1, 2]


def test_three_ligands():
    frame = Frame(
        ("Ta", "O", "F", "Cl", "Cl"),
        [[0, 0, 0], [1.9, 0, 0], [0, 1.9, 0], [0, 0, 2.3], [0, 0, -2.3]],
        20 * np.eye(3),
    )
    roles = {"center": "Ta", "ligands": ("O", "F", "Cl"), "cutoffs": {"O": 2.4, "F": 2.4, "Cl": 2.8}}
    assert bonds(frame, **roles).coordination_by_ligand == {"O": (1,), "F": (1,), "Cl": (2,)}
    assert tetrahedra(frame, **roles).labels == ("TaOFCl2",)
    assert tetrahedra(frame, **roles, coordination=6).labels == ("CN4:O1F1Cl2",)
    # 4 bonds among 3 ligands in 15 ways.
    assert len(tetrahedra(frame, **roles).counts) == 15


def test_labels_follow_the_order_of_the_ligands():
    assert regular_types() == TETRAHEDRA
    assert regular_types("Al", ("Cl", "O")) == ("AlO4", "AlClO3", "AlCl2O2", "AlCl3O", "AlCl4")
    assert type_label((0,), "P", ("S",)) == "CN0:S0"
    assert regular_types("Ta", ("O",), 6) == ("TaO6",)
    with pytest.raises(InputError, match="coordination"):
        regular_types(coordination=0)


@pytest.mark.parametrize(("ligands", "coordination"), [(("O", "Cl"), 4), (("S",), 4), (("O", "F", "Cl"), 6)])
def test_every_type_has_its_number(ligands, coordination):
    labels = [numbered_type(k, "Al", ligands, coordination) for k in range(60)]
    assert len(set(labels)) == 60
    regular = regular_types("Al", ligands, coordination)
    assert tuple(labels[: len(regular)]) == regular
    numbers = np.array([n for n in np.ndindex((9,) * len(ligands)) if sum(n) < 9])
    found = type_numbers(numbers, coordination)
    for n, number in zip(numbers, found, strict=True):
        assert numbered_type(int(number), "Al", ligands, coordination) == type_label(
            n.tolist(), "Al", ligands, coordination
        )
    # Numbers do not depend on what else is in the frame.
    many = type_numbers(np.array([[30] * len(ligands), numbers[-1].tolist()]), coordination)
    assert many[1] == found[-1]
    with pytest.raises(InputError, match="no type"):
        numbered_type(-1)
    with pytest.raises(InputError, match="no type"):
        numbered_type(1, ligands=())


def polygon(n, bond=3.0):
    angle = 2 * np.pi * np.arange(n) / n
    radius = bond / (2 * np.sin(np.pi / n))
    return radius * np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=1)


def test_shapes_of_chains():
    cell = 60 * np.eye(3)
    rows = {
        "isolated": np.zeros((1, 3)),
        "linear": np.array([[0, 0, 0], [3, 0, 0], [6, 0, 0]]),
        "branched": 3 * np.array([[0, 0, 0], [1, 0, 0], [-1, 0, 0], [0, 1, 0]]),
        "ring": polygon(6),
        # A hexagon with a tail, and two triangles with a common edge.
        "cyclic": np.concatenate([polygon(6), [[6, 0, 0]]]),
    }
    for shape, positions in rows.items():
        (part,) = chains(Frame(("Al",) * len(positions), positions, cell), cutoff=3.5).components
        assert part.shape == shape
    rhombus = np.array([[0, 0, 0], [3, 0, 0], [1.5, 2.6, 0], [1.5, -2.6, 0]])
    (part,) = chains(Frame(("Al",) * 4, rhombus, cell), cutoff=3.5).components
    assert (part.shape, part.cyclomatic_number) == ("cyclic", 2)
    (part,) = chains(Frame(("Al",), [[0, 0, 0]], np.diag([4.0, 20, 20]))).components
    assert (part.shape, part.size, part.n_edges, part.cyclomatic_number) == ("percolating", 1, 1, 1)


def test_a_pair_connected_through_several_images():
    # The second Al sits halfway along a and b: near in four images, and the component fills the plane.
    frame = Frame(("Al", "Al"), [[0, 0, 0], [2.5, 2.5, 0]], np.diag([5.0, 5.0, 30.0]))
    result = chains(frame)
    (part,) = result.components
    assert (result.n_edges, part.n_edges, part.dimension, part.cyclomatic_number) == (4, 4, 2, 3)
    assert part.n_branch_points == 2
    assert result.isolated_fraction == 0.0
    # The own images, 5 A away along a and b, join in: two edges more for each of the two.
    assert chains(frame, cutoff=5.01).n_edges == 8


def test_separate_nets_are_separate_chains():
    frame = Frame(("Al", "Al"), [[0, 0, 0], [2.5, 2.5, 2.5]], 5.0 * np.eye(3))
    # 4.33 A apart, 5 A to the own images.
    assert [(part.size, part.dimension) for part in chains(frame).components] == [(1, 0), (1, 0)]
    assert [(part.size, part.dimension) for part in chains(frame, cutoff=4.5).components] == [(2, 3)]
    apart = Frame(("Al", "Al"), [[0, 0, 0], [0, 0, 12]], np.diag([4.0, 4.0, 24.0]))
    assert [(part.size, part.dimension) for part in chains(apart).components] == [(1, 2), (1, 2)]
    assert chains(apart).isolated_fraction == 0.0


def test_dimension_does_not_depend_on_the_choice_of_the_cell():
    cell = np.array([[4.0, 0, 0], [0, 30.0, 0], [0, 0, 30.0]])
    sheared = np.array([[1, 0, 0], [5, 1, 0], [0, 0, 1]]) @ cell
    for shape in (cell, sheared):
        (part,) = chains(Frame(("Al",), [[0, 0, 0]], shape)).components
        assert (part.dimension, part.n_edges) == (1, 1)
