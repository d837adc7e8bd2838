"""A survey of a run against single structures, and edges with scheduled flickers."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laoc_flows.analysis import Trajectory, block_average, bonds, chains, rule_disagreement, tetrahedra
from laoc_flows.analysis.structure.bonds import assign_roles
from laoc_flows.analysis.structure.survey import center_states, survey
from laoc_flows.analysis.structure.tetrahedra import numbered_type
from laoc_flows.errors import InputError

CUTOFFS = {"O": 3.2, "Cl": 3.8}
SEED = 4
"""Of a run with several Al, O and Cl."""


def random_run(seed, n_frames=3):
    """Dense random frames in small skewed cells that change with time, atoms in any image."""
    rng = np.random.default_rng(seed)
    n_atoms = int(rng.integers(1, 18))
    species = tuple(rng.choice(["Li", "Al", "O", "Cl"], n_atoms, p=[0.1, 0.4, 0.2, 0.3]))
    cells = np.diag(rng.uniform(3.0, 7.0, 3)) + rng.uniform(-1.5, 1.5, (n_frames, 3, 3))
    return Trajectory(species, rng.uniform(-2, 2, (n_frames, n_atoms, 3)) @ cells, cells, 0.1)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31), cutoff=st.sampled_from([2.5, 4.2, 5.0]))
def test_every_frame_is_what_single_structures_say(seed, cutoff):
    run = random_run(seed)
    result = survey(run, bond_cutoffs=CUTOFFS, cutoff=cutoff)
    n_al = run.species.count("Al")
    if n_al == 0:
        assert (result.status, result.time.size, result.debounce_status) == ("empty", 0, "insufficient")
        return
    for k in range(run.n_frames):
        frame = run.frame(k)
        table, types = bonds(frame, cutoffs=CUTOFFS), tetrahedra(frame, cutoffs=CUTOFFS)
        shares = dict(zip(result.type_labels, result.type_fractions[k].tolist(), strict=True))
        assert {label: share for label, share in shares.items() if share} == {
            label: share for label, share in types.fractions.items() if share
        }
        assert set(types.counts) <= set(shares)
        assert result.mean_coordination[k].tolist() == [
            sum(table.coordination_by_ligand[s]) / n_al for s in ("O", "Cl")
        ]
        assert tuple(result.sum_rule[k]) == table.sum_rule()
        assert result.links_per_center[k] == table.links_per_center
        assert tuple(result.links[k]) == (table.n_corner_links, table.n_edge_links, table.n_face_links)
        for c, (s, column) in enumerate([(s, x) for x in ("free", "bridge", "tri") for s in ("O", "Cl")]):
            found = [n for a, n in zip(table.anion_species, table.anion_coordination, strict=True) if a == s]
            expected = {"free": found.count(0), "bridge": sum(n > 1 for n in found), "tri": found.count(3)}
            series = {"free": result.free_anions, "bridge": result.bridges, "tri": result.triclusters}
            assert series[column][k, c % 2] == expected[column]
        q = Counter(table.bridging_per_center)
        assert result.q_fractions[k].tolist() == [q[n] / n_al for n in range(result.q_fractions.shape[1])]
        rules = rule_disagreement(frame, cutoff, bond_cutoffs=CUTOFFS)
        assert tuple(result.disagreement[k]) == tuple(
            len(part) for part in (rules.both, rules.distance_only, rules.bridge_only)
        )
        for rule in ("distance", "bridge"):
            part, series = chains(frame, rule, cutoff, bond_cutoffs=CUTOFFS), result.chains[rule]
            counts = dict(zip(series.sizes, series.counts[k].tolist(), strict=True))
            assert {size: n for size, n in counts.items() if n} == part.counts
            assert series.n_edges[k] == part.n_edges
            assert series.n_components[k] == len(part.components)
            assert series.dimension[k] == part.dimension
            assert series.isolated_fraction[k] == part.isolated_fraction
            assert series.number_average_size[k] == part.number_average_size
            assert series.weight_average_size[k] == part.weight_average_size
            assert series.n_ends[k] == sum(c.n_ends for c in part.components)
            assert series.n_branch_points[k] == sum(c.n_branch_points for c in part.components)
            assert series.percolating_fraction[k] * n_al == pytest.approx(
                sum(c.size for c in part.components if c.dimension)
            )


@settings(max_examples=120, deadline=None)
@given(seed=st.integers(0, 2**31), rule=st.sampled_from(["distance", "bridge"]))
def test_states_of_the_centers_are_what_single_structures_say(seed, rule):
    run = random_run(seed, 1)
    frame = run.frame(0)
    roles = assign_roles(run.species, cutoffs=CUTOFFS)
    states = center_states(frame.positions, frame.cell, roles, rule)
    labels = [numbered_type(int(k)) for k in states.type_index]
    assert tuple(labels) == tetrahedra(frame, cutoffs=CUTOFFS).labels
    table = bonds(frame, cutoffs=CUTOFFS)
    assert tuple(states.bridging) == table.bridging_per_center
    for k, s in enumerate(("O", "Cl")):
        assert tuple(states.n_ligand[:, k]) == table.coordination_by_ligand[s]
    components = chains(frame, rule, bond_cutoffs=CUTOFFS).components
    for center, label, size, dimension, isolated in zip(
        roles.centers,
        states.chain_id,
        states.chain_size,
        states.chain_dimension,
        states.isolated,
        strict=True,
    ):
        part = components[label]
        assert center in part.atoms
        assert (size, dimension) == (part.size, part.dimension)
        assert isolated == (part.size == 1 and part.dimension == 0)


def test_states_refuse_an_unknown_rule():
    frame = random_run(0, 1).frame(0)
    with pytest.raises(InputError, match="neither"):
        center_states(frame.positions, frame.cell, assign_roles(frame.species), "other")


def pair(distances, time_step=0.1, **kinds):
    """Two Al on the x axis with given distances, in a wide cell."""
    positions = np.zeros((len(distances), 2, 3))
    positions[:, 1, 0] = distances
    return Trajectory(("Al", "Al"), positions, 30 * np.eye(3), time_step, **kinds)


NEAR, FAR = 4.0, 4.5


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        # A change takes five frames of 0.1 ps.
        ("0000011111", "0000011111"),
        ("0000001111", "0000000000"),
        ("1111100000", "1111100000"),
        ("1111110000", "1111111111"),
        # Flickers of up to four frames leave no trace.
        ("0111100000", "0000000000"),
        ("1000011111", "1111111111"),
        # The state of the first frame holds until another one is confirmed, flickers included.
        ("1010111110", "1111111111"),
        ("0101011111", "0000011111"),
        ("0010111111", "0000111111"),
        # A change there and back, and one that a single frame interrupts.
        ("000001111100000", "000001111100000"),
        ("000001110111110000", "000000000111111111"),
        ("11111000001111100000", "11111000001111100000"),
    ],
)
@pytest.mark.parametrize("rule", ["distance", "bridge"])
def test_scheduled_flips(raw, expected, rule):
    run = pair([NEAR if c == "1" else FAR for c in raw])
    if rule == "bridge":
        # A Cl in the middle is bonded to both as long as they are near.
        cl = run.positions.mean(axis=1, keepdims=True)
        run = Trajectory(("Al", "Al", "Cl"), np.concatenate([run.positions, cl], axis=1), run.cells, 0.1)
    result = survey(run, bond_cutoffs={"O": 2.1, "Cl": 2.1})
    assert result.debounce_status == "ok"
    assert result.chains[rule].n_edges.tolist() == [int(c) for c in raw]
    steady = result.debounced[rule]
    assert steady.n_edges.tolist() == [int(c) for c in expected]
    assert steady.number_average_size.tolist() == [1.0 + int(c) for c in expected]
    assert steady.isolated_fraction.tolist() == [1.0 - int(c) for c in expected]
    assert (steady.debounced, result.chains[rule].debounced) == (True, False)


@settings(max_examples=60, deadline=None)
@given(
    raw=st.lists(st.lists(st.booleans(), min_size=12, max_size=12), min_size=1, max_size=4),
    hold=st.integers(2, 5),
)
def test_debounce_against_run_lengths(raw, hold):
    """Independent edges, each against the plain definition."""
    n_frames = len(raw[0])
    positions = np.zeros((n_frames, 2 * len(raw), 3))
    for e, presence in enumerate(raw):
        positions[:, 2 * e : 2 * e + 2, 1] = 20.0 * e
        positions[:, 2 * e + 1, 0] = np.where(presence, NEAR, FAR)
    run = Trajectory(("Al",) * (2 * len(raw)), positions, 100 * np.eye(3), 1.0)
    expected = np.zeros(n_frames, dtype=int)
    for presence in raw:
        state = presence[0]
        for k in range(n_frames):
            ahead = presence[k : k + hold]
            if len(ahead) == hold and all(value != state for value in ahead):
                state = not state
            expected[k] += state
    result = survey(run, debounce=float(hold))
    assert result.debounced["distance"].n_edges.tolist() == expected.tolist()


def test_an_edge_stays_itself_across_the_boundary():
    # The pair travels through the cell, so that the image of the second Al changes again and again.
    n_frames = 60
    gap = np.where(np.isin(np.arange(n_frames), [7, 20, 21, 40]), FAR, NEAR)
    positions = np.zeros((n_frames, 2, 3))
    positions[:, 0] = 0.9 * np.arange(n_frames)[:, None]
    positions[:, 1] = positions[:, 0] + gap[:, None] * [1, 0, 0]
    cell = np.array([[12.0, 0, 0], [3, 11, 0], [-2, 4, 12]])
    inside = np.mod(positions @ np.linalg.inv(cell), 1) @ cell
    free = survey(Trajectory(("Al", "Al"), positions, cell, 0.1, continuous=True))
    for run in (Trajectory(("Al", "Al"), inside, cell, 0.1), Trajectory(("Al", "Al"), positions, cell, 0.1)):
        result = survey(run)
        assert result.debounced["distance"].n_edges.tolist() == [1] * n_frames
        assert result.chains["distance"].n_edges.tolist() == (gap == NEAR).astype(int).tolist()
        assert result.model_dump_json() == free.model_dump_json()


def test_another_image_is_another_edge():
    # The second Al leaves one image of the first for the next: no frame without an edge, but never the same one.
    x = np.concatenate([np.full(8, 3.0), np.full(3, 7.0), np.full(8, 3.0)])
    positions = np.zeros((len(x), 2, 3))
    positions[:, 1, 0] = x
    run = Trajectory(("Al", "Al"), positions, np.diag([10.0, 30, 30]), 0.1, continuous=True)
    result = survey(run)
    assert result.chains["distance"].n_edges.tolist() == [1] * len(x)
    assert result.debounced["distance"].n_edges.tolist() == [1] * len(x)
    # The visit was too short to count; a longer one moves the edge over.
    x = np.concatenate([np.full(8, 3.0), np.full(8, 7.0)])
    positions = np.zeros((len(x), 2, 3))
    positions[:, 1, 0] = x
    steady = survey(Trajectory(run.species, positions, run.cells[0], 0.1, continuous=True)).debounced[
        "distance"
    ]
    assert steady.n_edges.tolist() == [1] * len(x)
    assert steady.dimension.tolist() == [0] * len(x)


def test_an_atom_may_be_connected_to_its_own_image():
    a = np.where(np.isin(np.arange(20), [3, 4, 11]), 4.5, 4.0)
    cells = np.array([np.diag([length, 30, 30]) for length in a])
    run = Trajectory(("Al",), np.zeros((20, 1, 3)), cells, 0.1)
    result = survey(run)
    assert result.chains["distance"].dimension.tolist() == (a < 4.2).astype(int).tolist()
    assert result.debounced["distance"].dimension.tolist() == [1] * 20
    assert result.debounced["distance"].percolating_fraction.tolist() == [1.0] * 20


def test_when_there_is_nothing_to_debounce():
    gaps = [NEAR, FAR] * 5
    coarse = survey(pair(gaps, time_step=0.5))
    assert coarse.debounce_status == "no-op"
    assert "0.5 ps" in coarse.debounce_reason
    assert coarse.debounced["distance"].n_edges.tolist() == [1, 0] * 5
    assert coarse.debounced["distance"].debounced
    assert survey(pair(gaps), debounce=0.0).debounce_status == "no-op"
    # Looking at every fifth frame makes them 0.5 ps apart.
    assert survey(pair(gaps), stride=5).debounce_status == "no-op"
    assert survey(pair(gaps), stride=4).debounce_status == "ok"
    short = survey(pair(gaps[:4]))
    assert (short.debounce_status, short.debounced) == ("insufficient", {})
    assert survey(pair([NEAR])).debounce_status == "insufficient"


def test_frames_too_far_apart_to_follow_keep_the_rest():
    rng = np.random.default_rng(3)
    run = Trajectory(("Al",) * 6, rng.random((20, 6, 3)) * 9, 9 * np.eye(3), 0.1)
    result = survey(run)
    assert (result.debounce_status, result.debounced) == ("refused", {})
    assert "0.4" in result.debounce_reason
    assert result.chains["distance"].n_edges.size == 20
    # Who says that they are continuous is believed.
    sure = Trajectory(("Al",) * 6, run.positions, run.cells, 0.1, continuous=True)
    assert survey(sure).debounce_status == "ok"


def test_stride_takes_every_so_many_frames_of_pieces_of_any_length(monkeypatch):
    run = random_run(SEED, 23)
    whole = survey(run, bond_cutoffs=CUTOFFS)
    assert run.species.count("Al") > 1
    for length in (1, 4, 5, 30):
        monkeypatch.setattr(
            Trajectory,
            "chunks",
            lambda self, _=0, n=length: (
                self.block(k, min(k + n, self.n_frames)) for k in range(0, self.n_frames, n)
            ),
        )
        for stride in (1, 2, 3, 7, 40):
            part = survey(run, bond_cutoffs=CUTOFFS, stride=stride)
            assert part.time.tolist() == run.times[::stride].tolist()
            assert part.links_per_center.tolist() == whole.links_per_center[::stride].tolist()
            assert part.chains["bridge"].n_edges.tolist() == whole.chains["bridge"].n_edges[::stride].tolist()


def test_pooled_histograms_in_both_conventions():
    # Two frames with one chain of three, two with three isolated Al, one with a pair.
    x = {"3": [0, 3, 6], "1": [0, 5, 10], "2": [0, 3, 10]}
    frames = [x[c] for c in "33112"]
    positions = np.zeros((5, 3, 3))
    positions[:, :, 0] = frames
    result = survey(Trajectory(("Al",) * 3, positions, 40 * np.eye(3), 1.0)).chains["distance"]
    assert result.sizes == (1, 2, 3)
    assert result.counts.tolist() == [[0, 0, 1]] * 2 + [[3, 0, 0]] * 2 + [[1, 1, 0]]
    # 7 singles, 1 pair and 2 triples are 10 components; 7, 2 and 6 of 15 Al.
    assert {n: m.value for n, m in result.number_histogram.items()} == pytest.approx({1: 0.7, 2: 0.1, 3: 0.2})
    assert {n: m.value for n, m in result.center_histogram.items()} == pytest.approx(
        {1: 7 / 15, 2: 2 / 15, 3: 0.4}
    )
    assert result.center_histogram[3] == block_average([1, 1, 0, 0, 0], "1")
    assert result.averages["isolated_fraction"].value == pytest.approx(7 / 15)
    assert result.averages["number_average_size"].value == pytest.approx((3 + 3 + 1 + 1 + 1.5) / 5)
    assert result.averages["weight_average_size"].value == pytest.approx((3 + 3 + 1 + 1 + 5 / 3) / 5)
    assert all(m.n_independent == 5 for m in result.number_histogram.values())


def test_error_of_the_pooled_ratio():
    # With a constant number of components the ratio has the error of its numerator.
    positions = np.zeros((10, 4, 3))
    rng = np.random.default_rng(1)
    two = rng.integers(0, 2, 10)
    # Either 2 + 2 or 3 + 1: two components in every frame.
    positions[:, :, 0] = np.where(two[:, None], [0, 3, 10, 13], [0, 3, 6, 13])
    result = survey(Trajectory(("Al",) * 4, positions, 40 * np.eye(3), 1.0)).chains["distance"]
    expected = block_average(two, "1")
    assert result.number_histogram[2].value == pytest.approx(expected.value)
    assert result.number_histogram[2].standard_error == pytest.approx(expected.standard_error)


def test_averages_are_those_of_the_series():
    run = random_run(SEED, 12)
    result = survey(run, bond_cutoffs=CUTOFFS)
    assert result.averages["links"] == block_average(result.links_per_center, "1")
    assert result.averages["AlO4"] == block_average(result.type_fractions[:, 4], "1")
    assert result.averages["CN(Cl)"] == block_average(result.mean_coordination[:, 1], "1")
    assert sum(m.value for name, m in result.averages.items() if name.startswith("Q")) == pytest.approx(1)
    assert result.type_fractions.sum(axis=1) == pytest.approx(1)
    one = survey(random_run(SEED, 1), bond_cutoffs=CUTOFFS)
    assert one.averages["links"].standard_error is None


def test_other_elements():
    positions = np.array([[0, 0, 0], [2.0, 0, 0], [0, 2.0, 0], [0, 0, 2.0], [-1.2, -1.2, -1.2], [9, 9, 9]])
    run = Trajectory(("P", "S", "S", "S", "S", "Li"), positions[None], 20 * np.eye(3), 1.0)
    result = survey(run, "P", ("S",), {"S": 2.6}, 4.5)
    assert result.type_labels == ("PS4",)
    assert result.type_fractions.tolist() == [[1.0]]
    assert result.n_anions == {"S": 4}
    with pytest.raises(InputError, match="cutoffs"):
        survey(run, "P", ("S",))
    with pytest.raises(InputError, match="no default distance"):
        survey(run, "P", ("S",), {"S": 2.6})
    six = survey(run, "P", ("S",), {"S": 2.6}, 4.5, coordination=6)
    assert six.type_labels == ("PS6", "CN4:S4")
    bare = survey(run, "P", (), {}, 4.5)
    assert (bare.type_labels, bare.mean_coordination.shape) == (("CN0:",), (1, 0))


@pytest.mark.parametrize("species", [("Li", "Cl"), ("O", "Cl"), ("Al", "Li"), ("Al", "Cl"), ("Al", "O")])
def test_absent_species(species):
    positions = np.array([[[0, 0, 0], [2.0, 0, 0]]] * 6)
    result = survey(Trajectory(species, positions, 20 * np.eye(3), 0.1))
    assert result.status == ("ok" if "Al" in species else "empty")
    assert result.n_anions == {"O": species.count("O"), "Cl": species.count("Cl")}
    assert len(result.time) == len(result.type_fractions) == (6 if "Al" in species else 0)
    assert len(result.chains["bridge"].counts) == len(result.time)
    text = result.model_dump_json()
    assert type(result).model_validate_json(text).model_dump_json() == text
    assert ("Al" in species) or "there is no Al" in result.reason


@pytest.mark.parametrize(
    "bad", [{"stride": 0}, {"debounce": -1.0}, {"debounce": np.nan}, {"coordination": 0}]
)
def test_bad_input(bad):
    with pytest.raises(InputError):
        survey(pair([NEAR]), **bad)


def test_time_axis_of_a_window():
    run = pair([NEAR] * 10).window(0.3, 0.7)
    assert survey(run).time == pytest.approx([0.3, 0.4, 0.5, 0.6])
