"""Bonds with hysteresis, their survival, and the hosts of ligands: schedules, brute force and edge cases."""

from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import poisson

import laoc_flows.analysis.events.bond_history as bonds_module
from laoc_flows.analysis import Trajectory
from laoc_flows.analysis.events.bond_history import BondHistory, bond_history, frame_blocks
from laoc_flows.analysis.events.bond_persistence import bond_persistence, persistence_of
from laoc_flows.analysis.events.ligand_hosts import host_changes, host_stretches
from laoc_flows.analysis.rates import poisson_rate, wilson_share
from laoc_flows.errors import InputError, TrajectoryError

BOX = np.array([[14.0, 0, 0], [3, 13, 0], [-2, 4, 15]])


def pair(distances, time_step=0.1, cell=BOX, ligand="Cl"):
    """One Al and one ligand at given distances."""
    positions = np.zeros((len(distances), 2, 3))
    positions[:, 1, 0] = distances
    return Trajectory(("Al", ligand), positions, cell, time_step)


def stretches(history):
    return list(zip(history.start.tolist(), history.stop.tolist(), strict=True))


def history_of(intervals, n_frames=100, n_centers=3):
    """Bonds of ligand 10 with centers, as (center, start, stop)."""
    rows = sorted(intervals, key=lambda row: (row[1], row[0]))
    center, start, stop = np.array(rows).T if rows else np.empty((3, 0), int)
    return BondHistory(
        center="Al",
        limits={"Cl": (2.6, 3.0)},
        n_frames=n_frames,
        time_step=0.1,
        start_time=0.0,
        center_indices=np.arange(n_centers),
        ligand_indices={"Cl": np.array([10])},
        bond_center=center,
        bond_ligand=np.full(len(rows), 10),
        bond_image=np.zeros((len(rows), 3), int),
        start=start,
        stop=stop,
        mean_distance=np.full(len(rows), 2.1),
    )


def naive_stretches(distances, make=2.6, break_=3.0):
    found, since = [], None
    for frame, r in enumerate(distances):
        if since is None and r < (make if frame else (make + break_) / 2):
            since = frame
        elif since is not None and r >= break_:
            found.append((since, frame))
            since = None
    if since is not None:
        found.append((since, len(distances)))
    return found


def test_a_bond_is_made_below_one_distance_and_broken_from_the_other_on():
    history = bond_history(pair([2.9, 2.65, 2.59, 2.99, 2.65, 3.01, 2.7, 2.61, 2.5, 2.9]))
    assert stretches(history) == [(2, 5), (8, 10)]
    assert history.starts_before.tolist() == [False, False]
    assert history.lasts.tolist() == [False, True]
    assert history.mean_distance == pytest.approx([np.mean([2.59, 2.99, 2.65]), np.mean([2.5, 2.9])])


@pytest.mark.parametrize(("first", "bonded"), [(2.79, True), (2.81, False)])
def test_in_the_first_frame_the_mean_of_both_limits_decides(first, bonded):
    assert bool(bond_history(pair([first, 2.9, 2.9])).n_bonds) is bonded


def test_oxygen_has_its_own_limits_and_others_can_be_given():
    distances = [2.1, 2.5, 2.3, 2.7, 2.3, 2.1]
    assert stretches(bond_history(pair(distances, ligand="O"))) == [(0, 3), (5, 6)]
    limits = {"S": (2.2, 2.2)}
    run = pair(distances, ligand="S")
    assert stretches(bond_history(run, "Al", ("S",), limits)) == [(0, 1), (5, 6)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(1.6, 4.0), min_size=1, max_size=40))
def test_stretches_equal_a_plain_loop(distances):
    # Continuous positions pass through fractional ones, which costs the last digits.
    assume(all(abs(r - limit) > 1e-9 for r in distances for limit in (2.6, 2.8, 3.0)))
    assert stretches(bond_history(pair(distances))) == naive_stretches(distances)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=3, max_size=30))
def test_survival_equals_brute_force_over_all_origins(states):
    present = np.array(states)
    positions = np.zeros((len(present), 4, 3))
    positions[:, 1:] = np.eye(3) * np.where(present, 2.1, 3.6)[:, :, None]
    result = bond_persistence(Trajectory(("Al", "Cl", "Cl", "Cl"), positions, BOX, 0.5))
    n = len(present)
    for row, lag in enumerate(np.rint(result.lag_time / 0.5).astype(int)):
        origins = present[: n - lag]
        stays = [present[t : t + lag + 1].all(axis=0) for t in range(n - lag)]
        assert result.continuous[row] == pytest.approx(np.sum(stays) / origins.sum(), abs=1e-12)
        assert result.intermittent[row] == pytest.approx((origins & present[lag:]).sum() / origins.sum())
    assert result.mean_bonds == pytest.approx(present.sum() / n)
    assert result.breaking_rate.count == (present[:-1] & ~present[1:]).sum()
    assert result.breaking_rate.exposure == pytest.approx(present[:-1].sum() * 0.5 / 1000)
    assert result.status == ("ok" if present.any() else "empty")


def test_lifetimes_are_censored_by_the_end_of_the_run():
    # Made at 2, 4 and 6 with lifetimes of 3, 5 and 3+ frames, beside one of the first frame that breaks at 4.
    alive = np.zeros((10, 4), dtype=bool)
    for k, (start, stop) in enumerate([(2, 5), (4, 9), (6, 10), (0, 4)]):
        alive[start:stop, k] = True
    positions = np.zeros((10, 5, 3))
    legs = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
    positions[:, 1:] = legs * np.where(alive, 2.1, 3.4)[:, :, None]
    result = bond_persistence(Trajectory(("Al",) + ("Cl",) * 4, positions, BOX, 1.0))
    born = result.lifetimes
    assert (born.n_ended, born.n_censored) == (2, 1)
    # 3 at risk at age 3, one of which breaks; the censored one is last seen at age 3; 1 at risk at age 5.
    assert born.time.tolist() == [3.0, 5.0]
    assert born.probability == pytest.approx([2 / 3, 0.0])
    assert ((born.low <= born.probability) & (born.probability <= born.high)).all()
    assert (result.residual.time.tolist(), result.residual.n_ended) == ([4.0], 1)


def test_bonds_to_two_images_of_one_center_are_two_bonds():
    cell = np.diag([4.2, 12.0, 12.0])
    positions = np.tile([[0.0, 0, 0], [2.1, 0, 0]], (4, 1, 1))
    positions[2:, 1, 0] += 1.0
    history = bond_history(Trajectory(("Al", "Cl"), positions, cell, 0.1))
    # At 3.1 and 1.1 A only the bond to the image at 4.2 A is left; its ligand lies in image -1 of the home center.
    assert sorted(zip(history.bond_image[:, 0].tolist(), history.stop.tolist(), strict=True)) == [
        (-1, 4),
        (0, 2),
    ]
    hosts = host_stretches(history)
    assert (hosts.image.tolist(), hosts.start.tolist(), hosts.stop.tolist()) == ([[-1, 0, 0]], [0], [4])


def walkers(seed=0, n_frames=200, cell=BOX):
    """Al, O and Cl that wander and bond now and then, and drift together."""
    rng = np.random.default_rng(seed)
    species = np.array(["Al"] * 6 + ["O"] * 3 + ["Cl"] * 12 + ["Li"] * 4)
    start = rng.random((25, 3)) @ cell
    moves = np.cumsum(rng.normal(0, 0.12, (n_frames, 25, 3)), axis=0)
    return tuple(species), start + moves, cell


def summary(result):
    return (
        result.continuous.round(10).tolist(),
        result.intermittent.round(10).tolist(),
        len(result.changes),
        result.changed_share.count,
        result.breaking_rate.count,
        result.lifetimes.probability.round(10).tolist(),
    )


def test_neither_place_nor_order_nor_wrapping_nor_drift_matters():
    species, positions, cell = walkers()
    expected = summary(bond_persistence(Trajectory(species, positions, cell, 0.1)))
    assert expected[2] >= 3
    fractional = positions @ np.linalg.inv(cell)
    drift = np.arange(len(positions))[:, None, None] * np.array([0.1, -0.05, 0.02])
    order = np.random.default_rng(3).permutation(len(species))
    sheared = np.array([[1, 0, 0], [1, 1, 0], [-1, 2, 1]]) @ cell
    for other in (
        Trajectory(species, (fractional - np.floor(fractional)) @ cell, cell, 0.1),
        Trajectory(species, positions + drift, cell, 0.1),
        Trajectory(tuple(np.array(species)[order]), positions[:, order], cell, 0.1),
        Trajectory(species, positions, sheared, 0.1),
    ):
        assert summary(bond_persistence(other)) == expected


def test_a_supercell_has_the_same_shares_and_more_of_everything():
    species, positions, cell = walkers()
    one = bond_persistence(Trajectory(species, positions, cell, 0.1))
    double = np.diag([2.0, 1, 1]) @ cell
    both = np.concatenate([positions, positions + cell[0]], axis=1)
    two = bond_persistence(Trajectory(species * 2, both, double, 0.1))
    assert two.intermittent == pytest.approx(one.intermittent)
    assert two.continuous == pytest.approx(one.continuous)
    assert two.mean_bonds == pytest.approx(2 * one.mean_bonds)
    assert len(two.changes) == 2 * len(one.changes)
    assert two.change_rate.value == pytest.approx(one.change_rate.value)


def test_blocks_of_frames_change_nothing(monkeypatch):
    species, positions, cell = walkers()
    run = Trajectory(species, positions, cell, 0.1)
    whole = bond_history(run)
    monkeypatch.setattr(bonds_module, "frame_blocks", partial(frame_blocks, max_bytes=24 * 21 * 7))
    assert bond_history(run).model_dump_json() == whole.model_dump_json()


def test_a_breathing_cell_is_followed():
    scale = 1 + 0.02 * np.sin(np.arange(50) / 5)
    positions = np.zeros((50, 2, 3))
    positions[:, 1] = [0.15, 0, 0] @ BOX
    cells = BOX * scale[:, None, None]
    run = Trajectory(("Al", "Cl"), positions * scale[:, None, None] + cells[:, :1] * 0.99, cells, 0.1)
    assert stretches(bond_history(run)) == [(0, 50)]
    assert bond_persistence(run).continuous[-1] == 1.0


HANDED = {
    "handed over through a bridge": ([(0, 0, 50), (1, 40, 100)], [(0, 1, 50)]),
    "handed over through the free state": ([(0, 0, 50), (1, 60, 100)], [(0, 1, 60)]),
    "bridged and returned": ([(0, 0, 100), (1, 40, 60)], []),
    "let go and returned": ([(0, 0, 40), (0, 60, 100)], []),
    "a bridge that opens": ([(0, 0, 40), (1, 0, 100)], []),
    "there and back": ([(0, 0, 50), (1, 40, 80), (0, 70, 100)], [(0, 1, 50), (1, 0, 80)]),
    "a visit on the way": ([(0, 0, 50), (1, 40, 60), (2, 45, 100)], [(0, 2, 50)]),
    "never bonded": ([], []),
}


@pytest.mark.parametrize(("intervals", "expected"), HANDED.values(), ids=HANDED)
def test_changes_of_host_are_those_that_cannot_be_avoided(intervals, expected):
    history = history_of(intervals)
    changes = host_changes(history, host_stretches(history))
    columns = (changes.from_center, changes.to_center, np.rint(changes.time / 0.1).astype(int))
    assert list(zip(*(column.tolist() for column in columns), strict=True)) == expected
    result = persistence_of(history)
    assert result.changed_ligands == ((10,) if expected else ())
    assert result.change_rate.count == len(expected)


INTERVALS = st.lists(
    st.tuples(st.integers(0, 4), st.integers(0, 38), st.integers(1, 20)), min_size=1, max_size=8
)


@settings(max_examples=200, deadline=None)
@given(INTERVALS)
def test_hosts_cover_every_bonded_frame_with_the_fewest_stretches(raw):
    by_center = {}
    for center, start, length in raw:
        taken = by_center.setdefault(center, np.zeros(40, bool))
        taken[start : start + length] = True
    intervals = []
    for center, taken in by_center.items():
        edges = np.flatnonzero(np.diff(np.concatenate([[False], taken, [False]]).astype(int)))
        intervals += [(center, int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
    hosts = host_stretches(history_of(intervals, n_frames=40, n_centers=5))
    bonded = np.any(list(by_center.values()), axis=0)
    covered = np.zeros(40, int)
    for center, start, stop in zip(hosts.center, hosts.start, hosts.stop, strict=True):
        covered[start:stop] += 1
        assert by_center[int(center)][start:stop].all()
    assert (covered == bonded).all()
    # Fewest stretches by dynamic programming over frames: cost of being with each center.
    cost = dict.fromkeys(by_center, np.inf)
    total, before = 0.0, False
    for t in range(40):
        if not bonded[t]:
            before = False
            continue
        best = min(cost.values()) if before else total
        cost = {
            c: (min(cost[c] if before and taken[t - 1] else np.inf, best + 1) if taken[t] else np.inf)
            for c, taken in by_center.items()
        }
        total, before = min(cost.values()), True
    assert len(hosts.start) == total
    reverse = [(center, 40 - stop, 40 - start) for center, start, stop in intervals]
    assert len(host_stretches(history_of(reverse, n_frames=40, n_centers=5)).start) == total
    assert all(a <= b for a, b in pairwise(hosts.start))


def test_gaps_can_be_closed():
    history = history_of([(0, 0, 40), (0, 45, 100)])
    assert host_stretches(history, max_gap=4).stop.tolist() == [40, 100]
    assert host_stretches(history, max_gap=5).stop.tolist() == [100]


def test_results_survive_json():
    species, positions, cell = walkers()
    result = bond_persistence(Trajectory(species, positions, cell, 0.1, start_time=5.0))
    again = type(result).model_validate_json(result.model_dump_json())
    assert again.model_dump_json() == result.model_dump_json()
    assert (result.changes.time >= 5.0).all()


@pytest.mark.parametrize(
    ("center", "ligand", "n_frames", "status", "reason"),
    [
        ("Ga", "Cl", 5, "empty", "no Ga"),
        ("Al", "O", 5, "empty", "no O"),
        ("Li", "Cl", 5, "empty", "closer"),
        ("Al", "Cl", 1, "insufficient", "1 frames"),
        ("Al", "Cl", 2, "insufficient", "2 frames"),
    ],
)
def test_what_cannot_be_measured_is_said(center, ligand, n_frames, status, reason):
    positions = np.zeros((n_frames, 3, 3))
    positions[:, 1, 0], positions[:, 2, 1] = 2.1, 6.0
    result = bond_persistence(Trajectory(("Al", "Cl", "Li"), positions, BOX, 0.1), center, ligand)
    assert result.status == status
    assert reason in result.reason
    if status == "empty":
        assert len(result.lag_time) == result.mean_bonds == result.n_hosted == 0
        assert result.changed_share.value is None
        assert result.breaking_rate.value is None


def test_a_thiophosphate_works_the_same_way():
    run = Trajectory(("P", "S"), np.array([[[0, 0, 0], [2.05, 0, 0]]] * 6), BOX, 0.1)
    result = bond_persistence(run, "P", "S", {"S": (2.5, 2.9)})
    assert (result.status, result.continuous[-1], result.mean_bonds) == ("ok", 1.0, 1.0)


@pytest.mark.parametrize(
    ("ligand", "limits"),
    [
        ("Cl", {"Cl": (3.0, 2.6)}),
        ("Cl", {"Cl": (0.0, 2.6)}),
        ("Cl", {"O": (2.2, 2.6)}),
        ("Al", {"Al": (2, 3)}),
    ],
)
def test_limits_that_make_no_sense_are_refused(ligand, limits):
    with pytest.raises(InputError):
        bond_persistence(pair([2.1] * 3), "Al", ligand, limits)


def test_frames_too_far_apart_are_refused():
    with pytest.raises(TrajectoryError, match="unwrap"):
        bond_persistence(pair([2.1, 8.0, 2.1]))


def test_a_ligand_that_was_not_followed_is_refused():
    with pytest.raises(InputError, match="not followed"):
        persistence_of(history_of([]), "Br")


@pytest.mark.parametrize("count", [0, 1, 7, 300])
def test_poisson_interval_is_where_the_tails_are(count):
    low, high = poisson_rate(count, exposure=2.0).interval
    assert poisson.cdf(count, 2.0 * high) == pytest.approx(0.025)
    assert poisson.sf(count - 1, 2.0 * low) == pytest.approx(0.025 if count else 1.0)


def test_shares_and_rates_of_nothing():
    assert wilson_share(0, 0).value is wilson_share(0, 0).interval is None
    assert poisson_rate(0, 0.0).value is poisson_rate(3, 0.0).interval is None
    # Wilson's own formula at 95 %.
    z, n, p = 1.959964, 50, 0.1
    center = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert wilson_share(5, 50).interval == pytest.approx((center - half, center + half), abs=1e-6)
    for bad in (lambda: wilson_share(3, 2), lambda: poisson_rate(-1, 1.0)):
        with pytest.raises(InputError):
            bad()
