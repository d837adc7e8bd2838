"""Coincidence of rotations and hops: brute force, known couplings, and the null model."""

from functools import cache
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest

from laoc_flows.analysis import Trajectory
from laoc_flows.analysis.events.coupling import coincidences, rotation_hop_coupling
from laoc_flows.analysis.events.rotations import rotations
from laoc_flows.errors import InputError

CELL = np.array([[20.0, 0, 0], [5, 18, 0], [-4, 3, 22]])
DURATION = 500.0


def brute_force(times_a, at_a, times_b, at_b, cell, dt, radius):
    shifts = np.stack(np.meshgrid(*[np.arange(-4, 5)] * 3, indexing="ij"), -1).reshape(-1, 3) @ cell
    found = []
    for t, r in zip(times_a, at_a, strict=True):
        vectors = at_b[:, None] - r + shifts
        near = (np.linalg.norm(vectors, axis=-1) < radius).any(axis=1)
        found.append(bool((near & (np.abs(times_b - t) <= dt)).any()))
    return found


@settings(max_examples=60, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(0, 12),
    st.integers(0, 12),
    st.floats(0.1, 3.0),
    st.floats(0.5, 7.0),
    st.sampled_from([0.3, 0.5, 1.0]),
)
def test_coincidences_equal_brute_force_in_any_cell(seed, n_a, n_b, dt, radius, scale):
    rng = np.random.default_rng(seed)
    cell = CELL * scale
    times_a, times_b = rng.uniform(0, 10, n_a), rng.uniform(0, 10, n_b)
    # Positions in the cell and in its neighbors: unwrapped ones are given as they are.
    inside_a, inside_b = rng.random((n_a, 3)), rng.random((n_b, 3))
    at_a = (inside_a + rng.integers(-2, 3, (n_a, 3))) @ cell
    at_b = (inside_b + rng.integers(-2, 3, (n_b, 3))) @ cell
    found = coincidences(times_a, at_a, times_b, at_b, cell, dt, radius).tolist()
    assert found == brute_force(times_a, inside_a @ cell, times_b, inside_b @ cell, cell, dt, radius)


@pytest.mark.parametrize(("apart", "found"), [(0.9, True), (1.0, True), (1.001, False)])
def test_the_time_limit_is_inclusive(apart, found):
    for sign in (1, -1):
        at = [[1.0, 2.0, 3.0]]
        assert coincidences([50.1], at, [50.1 + sign * apart], at, CELL).tolist() == [found]


@cache
def run_without_events(duration):
    still = np.zeros((round(duration / 0.5) + 1, 2, 3))
    still[:, 1, 0] = 2.15
    return rotations(Trajectory(("Al", "Cl"), still, CELL, 0.5), average=0.0, hold=0.5)


def make_rotations(times, positions, duration=DURATION):
    """A result of the given events, from a run of that length."""
    base = run_without_events(duration)
    order = np.argsort(times)
    n = len(times)
    events = base.events.model_copy(
        update={
            "time": np.asarray(times)[order],
            "position": np.asarray(positions).reshape(-1, 3)[order],
            "ligand": np.arange(n),
            "host": np.arange(n),
            "angle": np.full(n, 109.5),
        }
    )
    return base.model_copy(update={"events": events})


def make_hops(times, positions, ions):
    return SimpleNamespace(
        events=SimpleNamespace(ion=np.asarray(ions), time=np.asarray(times), position=np.asarray(positions))
    )


def independent(seed, n_rotations=400, n_hops=60):
    """Rotations anywhere; hops of six ions anywhere, at any time."""
    rng = np.random.default_rng(seed)
    turned = make_rotations(rng.uniform(0, DURATION, n_rotations), rng.random((n_rotations, 3)) @ CELL)
    hopped = make_hops(
        rng.uniform(0, DURATION, n_hops), rng.random((n_hops, 3)) @ CELL, rng.integers(0, 6, n_hops)
    )
    return turned, hopped


def test_hops_at_rotations_are_coupled():
    rng = np.random.default_rng(1)
    turned, _ = independent(1)
    rows = rng.choice(400, 50, replace=False)
    near = turned.events.position[rows] + rng.normal(0, 0.5, (50, 3)) + 3 * CELL[1]
    hopped = make_hops(turned.events.time[rows] + rng.uniform(-0.5, 0.5, 50), near, np.arange(50) % 10)
    result = rotation_hop_coupling(turned, hopped)
    assert result.status == "ok"
    assert (result.n_coincident, result.fraction) == (50, 1.0)
    assert result.p_value == pytest.approx(1 / 501)
    assert result.enrichment > 10
    assert result.enrichment_interval[0] > 5
    assert result.z_score > 10
    assert result.coincident.all()


def test_half_of_the_hops_at_rotations_is_half_the_coupling():
    rng = np.random.default_rng(2)
    turned, free = independent(2)
    rows = rng.choice(400, 60, replace=False)
    times = np.concatenate([turned.events.time[rows], free.events.time])
    positions = np.concatenate([turned.events.position[rows], free.events.position])
    result = rotation_hop_coupling(turned, make_hops(times, positions, np.arange(120)))
    assert result.coincident[:60].all()
    low, high = result.fraction_interval
    assert low < 0.5 + 0.5 * result.null_mean < high


def test_independent_hops_follow_the_null_model():
    """Over many runs the fraction is that of the null on average, and p-values are uniform."""
    results = [rotation_hop_coupling(*independent(seed), n_shuffles=100, seed=seed) for seed in range(100)]
    excess = np.array([r.fraction - r.null_mean for r in results])
    error = excess.std(ddof=1) / np.sqrt(len(excess))
    assert abs(excess.mean()) < 3 * error
    assert error < 0.1 * np.mean([r.null_mean for r in results])
    # Spread over the steps of a discrete count, so that the test for uniformity holds.
    rng = np.random.default_rng(0)
    scores = np.array([r.z_score for r in results])
    assert abs(scores.mean()) < 0.3
    assert scores.std() == pytest.approx(1, abs=0.25)
    p_values = np.array([r.p_value for r in results])
    assert (p_values < 0.05).mean() < 0.12
    assert kstest(scores + rng.normal(0, 0.05, len(scores)), "norm").pvalue > 1e-3
    # Expected coincidences: density of rotations in the sphere and the window.
    expected = 400 * 4 / 3 * np.pi * 4**3 / abs(np.linalg.det(CELL)) * 2 / DURATION
    assert np.mean([r.null_mean for r in results]) == pytest.approx(1 - np.exp(-expected), rel=0.1)


def test_a_common_place_alone_is_no_coupling():
    """All happens at one site, at independent times: many coincidences, as many as the null has."""
    rng = np.random.default_rng(5)
    turned = make_rotations(rng.uniform(0, DURATION, 100), rng.normal(5, 0.3, (100, 3)))
    hopped = make_hops(rng.uniform(0, DURATION, 200), rng.normal(5, 0.3, (200, 3)), np.arange(200) % 20)
    result = rotation_hop_coupling(turned, hopped)
    assert result.null_mean == pytest.approx(1 - np.exp(-100 * 2 / DURATION), rel=0.15)
    assert result.p_value > 0.01
    assert result.enrichment_interval[0] < 1.1


def test_bursts_of_one_ion_widen_the_interval():
    rng = np.random.default_rng(6)
    turned = make_rotations(np.arange(5.0, 495, 10), np.tile([5.0, 5, 5], (49, 1)))
    starts = rng.uniform(10, 490, 20)
    times = (starts[:, None] + np.linspace(0, 0.2, 10)).ravel()
    positions = np.tile([5.0, 5, 5], (200, 1))
    bursts = rotation_hop_coupling(turned, make_hops(times, positions, np.repeat(np.arange(20), 10)))
    alone = rotation_hop_coupling(turned, make_hops(times, positions, np.arange(200)))
    assert bursts.fraction == alone.fraction

    def width(result):
        return np.diff(result.fraction_interval)[0]

    assert width(bursts) > 2 * width(alone)
    assert bursts.null_deviation > 2 * alone.null_deviation


def test_neither_place_nor_order_nor_wrapping_matters():
    turned, hopped = independent(7)
    expected = rotation_hop_coupling(turned, hopped)
    order = np.random.default_rng(8).permutation(len(hopped.events.time))
    events = hopped.events
    mixed = make_hops(events.time[order], events.position[order] + 2 * CELL[0] - CELL[2], events.ion[order])
    other = rotation_hop_coupling(turned, mixed)
    assert other.coincident.tolist() == expected.coincident[order].tolist()
    assert other.null_mean == expected.null_mean
    assert other.p_value == expected.p_value
    moved = turned.model_copy(
        update={"events": turned.events.model_copy(update={"position": turned.events.position + 1.7})}
    )
    both = make_hops(events.time, events.position + 1.7, events.ion)
    assert rotation_hop_coupling(moved, both).n_coincident == expected.n_coincident


def test_the_seed_decides():
    turned, hopped = independent(9)
    one, two = (rotation_hop_coupling(turned, hopped, seed=3, n_shuffles=50) for _ in range(2))
    assert one.model_dump_json() == two.model_dump_json()
    assert rotation_hop_coupling(turned, hopped, seed=4, n_shuffles=50).null_mean != one.null_mean


NOWHERE = np.empty((0, 3))


@pytest.mark.parametrize(
    ("n_rotations", "n_hops", "duration", "status", "reason"),
    [
        (0, 3, DURATION, "empty", "no rotations"),
        (3, 0, DURATION, "empty", "no hops"),
        (0, 0, DURATION, "empty", "no hops"),
        (3, 3, 8.0, "insufficient", "too short"),
    ],
)
def test_what_cannot_be_compared_is_said(n_rotations, n_hops, duration, status, reason):
    times = np.array([1.0, 2.0, 3.0])
    at = np.ones((3, 3))
    turned = make_rotations(times[:n_rotations], at[:n_rotations], duration)
    result = rotation_hop_coupling(turned, make_hops(times[:n_hops], at[:n_hops], np.arange(n_hops)))
    assert result.status == status
    assert reason in result.reason
    assert result.null_mean is result.p_value is result.enrichment is result.z_score is None
    assert len(result.coincident) == n_hops
    assert (result.fraction is None) is (n_hops == 0)


def test_a_null_without_coincidence_gives_no_ratio():
    turned = make_rotations([100.0], [[0.0, 0, 0]])
    result = rotation_hop_coupling(turned, make_hops([100.0], [[9.0, 9, 9]], [0]))
    assert (result.fraction, result.null_mean) == (0.0, 0.0)
    assert result.enrichment is result.z_score is result.enrichment_interval is None
    assert result.p_value == 1.0


@pytest.mark.parametrize("options", [{"dt": -1.0}, {"radius": 0.0}, {"n_shuffles": 0}])
def test_parameters_that_make_no_sense_are_refused(options):
    with pytest.raises(InputError):
        rotation_hop_coupling(*independent(0), **options)


def test_columns_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match="do not fit"):
        coincidences([1.0, 2.0], np.ones((1, 3)), [1.0], np.ones((1, 3)), CELL)
