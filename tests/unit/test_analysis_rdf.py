"""g(r), all pairs in one pass, coordination numbers: exact counts, edges of bins, errors, edge cases."""

import numpy as np
import pytest
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st

from laoc_flows.analysis import Frame, Trajectory, chains, coordination_number, first_shell, pairs, rdf
from laoc_flows.analysis.structure.kernels import add_distances, bin_edges
from laoc_flows.analysis.structure.rdf import RdfsResult, rdfs
from laoc_flows.analysis.trajectories.sampling import evenly_spread, visit_frames
from laoc_flows.errors import InputError

CELL = np.array([[9.0, 0, 0], [2, 8, 0], [1, -2, 10]])
SPECIES = ("Li",) * 4 + ("Al",) * 3 + ("Cl",) * 8


def gas(n_frames=7, seed=0, species=SPECIES, cell=CELL):
    rng = np.random.default_rng(seed)
    return Trajectory(species, rng.random((n_frames, len(species), 3)) @ cell, cell, 1.0)


def test_all_pairs_of_one_pass_are_those_of_single_ones():
    run = gas()
    together = rdfs(run, r_max=12.0)
    assert list(together.partials) == ["Al-Al", "Al-Cl", "Al-Li", "Cl-Cl", "Cl-Li", "Li-Li"]
    assert together.counts == {"Al": 3, "Cl": 8, "Li": 4}
    assert together.density == pytest.approx(15 / abs(np.linalg.det(CELL)))
    for a, b in (("Al", "Cl"), ("Li", "Li"), ("Al", "Li")):
        single = rdf(run, a, b, r_max=12.0)
        assert single == together.partials[f"{a}-{b}"] == together.of(b, a)
    # From the other end g is the same, and the coordination is in the ratio of the atoms.
    back = rdf(run, "Cl", "Al", r_max=12.0)
    assert back.g == pytest.approx(together.of("Al", "Cl").g)
    assert 8 * np.array(back.coordination) == pytest.approx(
        3 * np.array(together.of("Al", "Cl").coordination)
    )
    with pytest.raises(InputError, match="not among"):
        together.of("Al", "O")
    assert RdfsResult.model_validate_json(together.model_dump_json()) == together


def test_counts_are_those_of_a_search_for_pairs():
    run = gas(n_frames=3)
    result = rdf(run, "Cl", "Cl", r_max=11.0, bin_width=0.1)
    for r_c in (2.3, 4.2, 8.8, 11.0):
        found = sum(len(pairs(run.frame(k), "Cl", "Cl", r_c).i) for k in range(3))
        assert coordination_number(result, r_c) == pytest.approx(found / 24, abs=1e-12)
        assert coordination_number(run, r_c, "Cl", "Cl") == pytest.approx(found / 24, abs=1e-12)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    bin_width=st.sampled_from([0.05, 0.1, 0.07, 0.3, 0.02]),
    number=st.integers(4, 60),
    primitive=st.booleans(),
)
def test_distances_on_an_edge_fall_behind_it(seed, bin_width, number, primitive):
    # A lattice whose constant is an edge: every bin must hold what a graph with the same cutoff says, to the last pair.
    rng = np.random.default_rng(seed)
    edges = bin_edges(bin_width, 200)
    a = float(edges[max(number, int(2 / bin_width))])
    n = 1 if primitive else 3
    cell = n * a * np.eye(3) @ np.array([[1, 0, 0], [int(rng.integers(-1, 2)), 1, 0], [0, 1, 1]])
    points = np.array(list(np.ndindex(n, n, n))) * a + (0.0 if rng.random() < 0.5 else rng.random(3) * 20)
    frame = Frame(("Al",) * len(points), points + np.rint(rng.normal(0, 1, points.shape)) @ cell, cell)
    r_max = float(edges[np.searchsorted(edges, 1.5 * a)])
    result = rdf(frame, "Al", "Al", r_max=r_max, bin_width=bin_width)
    for k in range(max(1, int(0.9 * a / bin_width)), len(result.edges)):
        graph = chains(frame, "distance", cutoff=result.edges[k])
        assert result.coordination[k] == 2 * graph.n_edges / graph.n_al


@pytest.mark.parametrize("scale", [1.0, 1 + 1e-15, 1 - 1e-15])
@pytest.mark.parametrize("structure", ["sc", "fcc", "bcc"])
def test_the_paper_cutoff_on_a_lattice_is_exact(structure, scale):
    # Nearest neighbors at 4.2 A up to the last digit, on whichever side rounding puts each of them.
    a = 4.2 * scale * {"sc": 1.0, "fcc": 2**0.5, "bcc": 2 / 3**0.5}[structure]
    lattice = bulk("Al", structure, a=a, cubic=True) * (3, 3, 3)
    lattice.positions += np.random.default_rng(1).normal(0, 5, 3)
    graph = chains(lattice, "distance", cutoff=4.2)
    assert coordination_number(rdf(lattice, "Al", "Al"), 4.2) == 2 * graph.n_edges / graph.n_al
    assert coordination_number(lattice, 4.2, "Al", "Al") == 2 * graph.n_edges / graph.n_al


def test_distances_are_binned_by_the_rounded_edges():
    # 3 * 0.05 is above 0.15 by a bit, and int(0.15 / 0.05) is 2.
    for r, first in ((4.2, 84), (0.15, 3), (0.35, 7), (2.4, 48), (np.nextafter(4.2, 0), 83)):
        histogram = np.zeros((1, 1, 100))
        points = np.array([[0.0, 0, 0], [r, 0, 0]])
        add_distances(histogram, points, 16.0 * np.eye(3), np.zeros(2, np.int64), 0.05)
        assert histogram[0, 0].nonzero()[0].tolist() == [first]
        assert histogram.sum() == 2


def test_a_contact_has_one_length():
    # Whichever end it is seen from: a search with a smaller radius uses other bins, and visits it the other way.
    # Nor may other atoms change a bit of it.
    rng = np.random.default_rng(5)
    points = rng.normal(0, 9, (200, 3))
    cell = np.array([[13.0, 0, 0], [2, 12, 0], [-3, 4, 11]])
    far = pairs(Frame(("Cl",) * 200, points, cell), "Cl", "Cl", 9.0)
    known = {(*key, *n): d for *key, n, d in zip(*(x.tolist() for x in far), strict=True)}
    for atoms, cutoff in ((np.arange(200), 2.2), (np.arange(0, 200, 3), 3.1), (np.arange(1, 200, 7), 5.0)):
        near = pairs(Frame(("Cl",) * len(atoms), points[atoms], cell), "Cl", "Cl", cutoff)
        assert len(near.i) > 100
        for i, j, n, d in zip(*(x.tolist() for x in near), strict=True):
            assert known[int(atoms[i]), int(atoms[j]), *n] == d


def test_coordination_of_every_stride_and_chunk(monkeypatch):
    run = gas(n_frames=23)
    whole = rdfs(run)
    monkeypatch.setattr("laoc_flows.analysis.trajectories.sampling.CHUNK_BYTES", 24 * 15 * 4)
    assert rdfs(run) == whole
    for stride in (2, 5, 22, 40):
        sampled = rdf(run, "Li", "Cl", stride=stride)
        frames = range(0, 23, stride)
        assert sampled.n_frames == len(frames)
        mean = np.mean([rdf(run.frame(k), "Li", "Cl").g for k in frames], axis=0)
        assert np.array(sampled.g) == pytest.approx(mean)
    chosen = [0, 1, 2, 3, 9, 22]
    visited = list(visit_frames(run, chosen))
    assert [number for number, _, _ in visited] == list(range(6))
    for (_, positions, cell), k in zip(visited, chosen, strict=True):
        assert np.array_equal(positions, run.positions[k])
        assert np.array_equal(cell, run.cells[k])


def test_frames_far_apart_are_not_read_with_those_between():
    class Counted(Trajectory):
        read = 0

        def block(self, start, stop):
            type(self).read += stop - start
            return super().block(start, stop)

    run = Counted(("Li",), np.zeros((1000, 1, 3)), CELL, 1.0)
    assert [k for k, _, _ in visit_frames(run, [0, 400, 999])] == [0, 1, 2]
    assert Counted.read == 3


def test_the_error_is_the_scatter_of_repeated_runs():
    results = [rdf(gas(50, seed), "Cl", "Cl", r_max=4.0, bin_width=0.5) for seed in range(40)]
    scatter = np.std([result.g for result in results], axis=0)[2:]
    claimed = np.sqrt(np.mean(np.square([result.g_error for result in results]), axis=0))[2:]
    assert claimed == pytest.approx(scatter, rel=0.3)


def test_one_frame_has_no_error():
    assert rdf(gas(1), "Cl", "Cl").g_error == ()
    assert len(rdf(gas(2), "Cl", "Cl").g_error) == 160
    assert rdf(gas(2), "Cl", "O").g_error == ()
    same = Trajectory(SPECIES, np.repeat(gas(1).positions, 4, axis=0), CELL, 1.0)
    assert max(rdf(same, "Cl", "Cl").g_error) < 1e-12


def test_no_chance_for_one_atom_or_no_element():
    alone = rdfs(Frame(("Li",), [[0, 0, 0]], 3 * np.eye(3)))
    assert alone.partials["Li-Li"].status == "empty"
    assert alone.partials["Li-Li"].coordination[-1] > 0
    none = rdfs(gas(2), [("O", "S")])
    assert none.partials["O-S"].status == "empty"
    assert (none.partials["O-S"].g, none.partials["O-S"].coordination) == ((), ())
    assert rdfs(gas(2), []).partials == {}
    assert first_shell(none.partials["O-S"]) == (None, None)


@pytest.mark.parametrize(
    "parameters", [{"r_max": 0.01}, {"bin_width": 0.0}, {"r_max": np.inf}, {"stride": 0}]
)
def test_parameters_out_of_range(parameters):
    with pytest.raises(InputError):
        rdfs(gas(2), **parameters)


def test_coordination_number_asks_for_its_elements():
    run = gas(2)
    with pytest.raises(InputError, match="between which elements"):
        coordination_number(run, 3.0)
    with pytest.raises(InputError, match="that of Al-Cl"):
        coordination_number(rdf(run, "Al", "Cl"), 3.0, "Li", "Cl")
    assert coordination_number(rdf(run, "Al", "Cl"), 3.0, "Al") == pytest.approx(
        coordination_number(run, 3.0, "Al", "Cl")
    )
    assert coordination_number(run, 3.0, "O", "Cl") is None
    assert coordination_number(run, 3.0, "Cl", "O") == 0.0


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_translation_order_and_supercell_change_nothing(seed):
    rng = np.random.default_rng(seed)
    run = gas(1, seed)
    # No lattice vector, and so no distance of an atom to its own image, ends on an edge.
    base = rdfs(run, r_max=10.0, bin_width=0.47)
    order = rng.permutation(15)
    species = tuple(np.array(SPECIES)[order])
    moved = Frame(species, run.positions[0, order] + rng.normal(0, 30, 3), CELL)
    shifts = np.array(list(np.ndindex(2, 1, 2))) @ CELL
    double = Frame(
        SPECIES * 4, (run.positions[0] + shifts[:, None]).reshape(-1, 3), np.diag([2, 1, 2]) @ CELL
    )
    # The same lattice in another cell.
    sheared = Frame(SPECIES, run.positions[0], np.array([[1, 0, 0], [1, 1, 0], [-1, 2, 1]]) @ CELL)
    for other in (moved, double, sheared):
        result = rdfs(other, r_max=10.0, bin_width=0.47)
        for name, partial in base.partials.items():
            assert result.partials[name].coordination == pytest.approx(partial.coordination)


def test_a_run_backwards_has_the_same_average():
    run = gas(9)
    back = Trajectory(SPECIES, run.positions[::-1], CELL, 1.0)
    assert rdf(back, "Al", "Cl").g == pytest.approx(rdf(run, "Al", "Cl").g)


def test_evenly_spread():
    assert evenly_spread(5, None).tolist() == [0, 1, 2, 3, 4]
    assert evenly_spread(1, 1).tolist() == [0]
    assert evenly_spread(1000, 4).tolist() == [0, 333, 666, 999]
    assert len(set(evenly_spread(101, 100).tolist())) == 100
    with pytest.raises(InputError):
        evenly_spread(5, 0)


def test_a_run_in_a_file_gives_the_same(tmp_path):
    run = gas(9)
    with Trajectory.open(run.write(tmp_path / "run.h5md", "float64")) as stored:
        assert rdfs(stored, stride=2) == rdfs(run, stride=2)
        assert coordination_number(stored, 4.2, "Al", "Cl") == coordination_number(run, 4.2, "Al", "Cl")
