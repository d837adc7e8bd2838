"""Isolated and chain Al: segregated, alternating, random."""

import numpy as np
import pytest

from laoc_flows.analysis import Frame, Trajectory
from laoc_flows.analysis.structure.mixing import _count, _neighbors, _summary, mixing
from laoc_flows.errors import InputError


def lattice(pairs, spacing=6.0, close=3.0):
    """A chessboard of sites: two close Al where `pairs` says so, a single one elsewhere."""
    positions = []
    for site in np.ndindex(pairs.shape):
        middle = spacing * np.array([*site, 0.0])
        shift = np.array([0, 0, close / 2])
        positions += [middle - shift, middle + shift] if pairs[site] else [middle]
    cell = np.diag([spacing * pairs.shape[0], spacing * pairs.shape[1], 40.0])
    return Frame(("Al",) * len(positions), np.array(positions), cell)


def test_perfectly_segregated():
    # Two islands further apart than the radius.
    x = np.concatenate([6.0 * np.arange(6), 80 + 3.0 * np.arange(6)])
    frame = Frame(("Al",) * 12, np.stack([x, 0 * x, 0 * x], axis=1), np.diag([150.0, 40, 40]))
    result = mixing(frame)
    assert result.status == "ok"
    assert (result.n_isolated, result.n_chain) == (6.0, 6.0)
    assert result.alpha == 1.0
    assert result.p_value < 0.01
    assert result.z_score > 2


def test_perfectly_alternating():
    # Every neighbor of a chain Al on another site is isolated.
    board = np.indices((6, 6)).sum(axis=0) % 2 == 0
    result = mixing(lattice(board), radius=6.9, within_chains=False)
    share = 18 / 54
    assert result.alpha == pytest.approx(1 - 1 / share)
    assert result.z_score < -5
    assert result.p_value == pytest.approx(1 / 1001)
    # With the partner in the chain among the neighbors: four isolated of five.
    assert mixing(lattice(board), radius=6.9).alpha == pytest.approx(1 - 4 / 5 / share)


def test_random_labels_are_not_significant():
    # Labels that know nothing of where the atoms are, which no rule can give: p is uniform.
    frame = lattice(np.zeros((8, 8), dtype=bool))
    near = _neighbors(frame, np.arange(64), 6.9, None)
    p_values = []
    for seed in range(200):
        rng = np.random.default_rng(seed)
        order = np.column_stack([np.arange(64), *(rng.permutation(64) for _ in range(99))])
        counts = [_count(near, rng.permutation(64) < 32, order)]
        p_values.append(_summary(counts, "Al", 64, 5)["p_value"])
    # p takes few values on a lattice, and ties count against significance.
    assert 0.45 < np.mean(p_values) < 0.65
    assert 0.0 < np.mean(np.array(p_values) < 0.1) < 0.15


def test_randomly_placed_pairs_have_no_order_on_average():
    alphas = [
        mixing(
            lattice(np.random.default_rng(k).permutation(64).reshape(8, 8) < 32),
            radius=6.9,
            within_chains=False,
            n_permutations=1,
        ).alpha
        for k in range(60)
    ]
    assert abs(np.mean(alphas)) < 4 * np.std(alphas) / np.sqrt(60)
    assert np.std(alphas) > 0.01


def test_null_mean_is_that_of_drawing_without_replacement():
    rng = np.random.default_rng(0)
    board = rng.random((8, 8)) < 0.5
    frame = lattice(board)
    result = mixing(frame, radius=6.9, n_permutations=20000)
    n = frame.n_atoms
    error = result.null_standard_deviation / np.sqrt(20000)
    assert result.null_mean == pytest.approx(-1 / (n - 1), abs=5 * error)


def test_images_are_counted():
    # One pair and one single: every neighbor of the pair but the partner is an image of the single.
    frame = Frame(("Al",) * 3, [[0, 0, 0], [3.0, 0, 0], [0, 5.0, 0]], np.diag([30.0, 10.0, 30.0]))
    result = mixing(frame, radius=6.0)
    # Each Al of the pair: its partner, and the single twice.
    assert result.n_neighbors == 3.0
    assert result.alpha == pytest.approx(1 - (2 / 3) / (1 / 3))


def test_a_run_pools_its_frames():
    board = np.indices((4, 4)).sum(axis=0) % 2 == 0
    frame = lattice(board)
    rng = np.random.default_rng(0)
    positions = frame.positions + rng.normal(0, 0.05, (30, frame.n_atoms, 3))
    run = Trajectory(frame.species, positions, frame.cell, 0.1)
    one, many = mixing(frame, radius=7.0), mixing(run, radius=7.0)
    assert (one.n_frames, many.n_frames) == (1, 30)
    assert many.alpha == pytest.approx(one.alpha)
    # The labels stay with their atoms, so thirty frames are no more evidence than one.
    assert many.z_score == pytest.approx(one.z_score, rel=0.05)
    assert one.standard_error is None
    assert many.standard_error == pytest.approx(0.0, abs=1e-12)
    assert mixing(run, n_frames=7).n_frames == 7


def test_standard_error_covers_the_scatter_of_frames():
    boards = [np.random.default_rng(k).permutation(36).reshape(6, 6) < 18 for k in range(20)]
    frames = [lattice(board) for board in boards]
    run = Trajectory(
        frames[0].species, np.array([f.positions for f in frames]), np.array([f.cell for f in frames]), 1.0
    )
    alphas = [mixing(frame, n_permutations=1).alpha for frame in frames]
    result = mixing(run, n_permutations=1, n_blocks=20)
    assert result.alpha == pytest.approx(np.mean(alphas), abs=0.05)
    assert result.standard_error == pytest.approx(np.std(alphas, ddof=1) / np.sqrt(20), rel=0.3)


def test_seed_and_invariance():
    board = np.random.default_rng(5).random((6, 6)) < 0.5
    frame = lattice(board)
    result = mixing(frame, seed=4)
    assert mixing(frame, seed=4) == result
    assert mixing(frame, seed=5).null_mean != result.null_mean
    order = np.random.default_rng(1).permutation(frame.n_atoms)
    for other in (
        Frame(frame.species, frame.positions + np.array([50.0, -7, 3]), frame.cell),
        Frame(frame.species, frame.positions[order], frame.cell),
        Frame(
            frame.species * 2,
            np.concatenate([frame.positions, frame.positions + frame.cell[0]]),
            np.diag([2, 1, 1]) @ frame.cell,
        ),
    ):
        assert mixing(other).alpha == pytest.approx(result.alpha)


def test_the_bridge_rule():
    positions = [[0, 0, 0], [4.4, 0, 0], [2.2, 0, 0], [0, 7, 0], [4.4, 7, 0]]
    frame = Frame(("Al", "Al", "Cl", "Al", "Al"), positions, 40 * np.eye(3))
    assert mixing(frame, rule="bridge").n_chain == 2.0
    assert mixing(frame).status == "insufficient"


@pytest.mark.parametrize(
    ("x", "status"),
    [([], "empty"), ([0.0], "insufficient"), ([0, 3.0], "insufficient"), ([0, 9.0], "insufficient")],
)
def test_nothing_to_compare(x, status):
    positions = np.zeros((len(x) + 1, 3))
    positions[1:, 0] = x
    positions[0, 1] = 20.0
    frame = Frame(("Li",) + ("Al",) * len(x), positions, 40 * np.eye(3))
    result = mixing(frame)
    assert result.status == status
    assert (result.alpha, result.z_score, result.p_value) == (None, None, None)
    assert type(result).model_validate_json(result.model_dump_json()) == result


def test_lonely_chains_have_no_neighbors():
    frame = Frame(("Al",) * 3, [[0, 0, 0], [3, 0, 0], [20, 20, 0]], 40 * np.eye(3))
    assert mixing(frame, within_chains=False).status == "insufficient"
    assert mixing(frame).alpha == 1.0


@pytest.mark.parametrize(
    "bad",
    [
        {"radius": 0.0},
        {"radius": np.inf},
        {"n_permutations": 0},
        {"n_frames": 0},
        {"n_blocks": 1},
        {"rule": "other"},
        {"center": "P"},
        {"cutoff": -1.0},
    ],
)
def test_bad_input(bad):
    with pytest.raises(InputError):
        mixing(Frame(("Al",), [[0, 0, 0]], 20 * np.eye(3)), **bad)
