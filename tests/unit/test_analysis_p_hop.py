"""The p_hop detector: its formula, its peaks and its edges."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laoc_flows.analysis.events.p_hop import P_HOP_THRESHOLD, PHopResult, p_hop, p_hop_curve
from laoc_flows.analysis.trajectories.trajectory import Trajectory
from laoc_flows.errors import InputError, TrajectoryError

CELL = np.array([[14.0, 0, 0], [2, 13, 0], [0, 1, 15]])


def run(ions, time_step=0.1, start_time=0.0, noise=0.0, seed=0):
    ions = np.asarray(ions, dtype=float)
    positions = np.concatenate([ions, np.zeros((len(ions), 2, 3))], axis=1)
    positions[:, -1] += 3.0
    positions = (
        positions + np.random.default_rng(seed).normal(0, noise, positions.shape) if noise else positions
    )
    return Trajectory(
        ("Li",) * ions.shape[1] + ("Al", "Cl"), positions, CELL, time_step, start_time=start_time
    )


def steps(*jumps, n_frames=200):
    """One ion at 5, 5, 5 that jumps by a vector at given frames."""
    ion = np.full((n_frames, 1, 3), 5.0)
    for frame, vector in jumps:
        ion[frame:] += np.asarray(vector, dtype=float)
    return ion


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), n=st.integers(2, 40), half=st.integers(1, 8))
def test_the_curve_is_its_formula(seed, n, half):
    r = np.cumsum(np.random.default_rng(seed).normal(0, 1, (n, 3)), axis=0) + 100
    curve = p_hop_curve(r, half) if n >= half else np.empty(0)
    expected = []
    for k in range(half, n - half + 1):
        a, b = r[k - half : k], r[k : k + half]
        first = ((b - a.mean(axis=0)) ** 2).sum(axis=1).mean()
        second = ((a - b.mean(axis=0)) ** 2).sum(axis=1).mean()
        expected.append(math.sqrt(first * second))
    assert curve == pytest.approx(np.array(expected), rel=1e-9)


def test_one_jump_is_one_event():
    result = p_hop(run(steps((80, (3, 0, 0)), (140, (0, -2, 1)))), smoothing=0)
    assert result.status == "ok"
    assert result.time == pytest.approx([7.95, 13.95])
    assert result.value == pytest.approx([9.0, 5.0])
    assert result.displacement == pytest.approx(np.array([[3.0, 0, 0], [0, -2, 1]]))
    assert result.ion.tolist() == [0, 0]
    # The framework drifts by nothing, so the ion's own positions are continuous.
    assert result.position == pytest.approx(np.array([[6.5, 5, 5], [8, 4, 5.5]]))


@pytest.mark.parametrize(("length", "n"), [(1.45, 0), (1.55, 1)])
def test_the_threshold_is_a_distance_squared(length, n):
    assert math.sqrt(P_HOP_THRESHOLD) == 1.5
    assert p_hop(run(steps((100, (0, length, 0)))), smoothing=0).n_hops == n
    assert p_hop(run(steps((100, (0, length, 0)))), smoothing=0, threshold=1.0).n_hops == 1


def test_peaks_closer_than_the_window_are_one():
    apart, close = ((80, (3, 0, 0)), (105, (3, 0, 0))), ((80, (3, 0, 0)), (95, (3, 0, 0)))
    assert p_hop(run(steps(*apart)), smoothing=0).n_hops == 2
    assert p_hop(run(steps(*close)), smoothing=0).n_hops == 1
    assert p_hop(run(steps(*close)), smoothing=0, window=1.0).n_hops == 2


def test_a_short_excursion_is_no_hop():
    assert p_hop(run(steps((80, (2, 0, 0)), (83, (-2, 0, 0))))).n_hops == 0


@pytest.mark.parametrize(("frame", "n"), [(9, 0), (10, 0), (11, 1), (189, 1), (190, 0), (191, 0)])
def test_no_event_within_half_a_window_of_the_ends(frame, n):
    assert p_hop(run(steps((frame, (2.0, 0, 0)))), smoothing=0).n_hops == n


def test_through_the_border_and_backward_in_time():
    walk = steps((50, (4, 0, 0)), (100, (4, 0, 0)), (150, (4, 1, 0)))
    wrapped = run(walk, noise=0.1)
    fractional = wrapped.positions @ np.linalg.inv(CELL)
    inside = Trajectory(wrapped.species, (fractional - np.floor(fractional)) @ CELL, CELL, 0.1)
    result = p_hop(wrapped)
    assert result.n_hops == 3
    assert p_hop(inside).displacement == pytest.approx(result.displacement)
    back = p_hop(Trajectory(wrapped.species, wrapped.positions[::-1], CELL, 0.1))
    assert back.time == pytest.approx(19.9 - result.time[::-1])
    assert back.displacement == pytest.approx(-result.displacement[::-1])


def test_ions_are_told_apart_and_sorted_by_time():
    ions = np.concatenate([steps((150, (3, 0, 0))), steps(), steps((50, (0, 3, 0)))], axis=1)
    result = p_hop(run(ions, start_time=10.0), smoothing=0)
    assert result.ion.tolist() == [2, 0]
    assert result.time == pytest.approx([14.95, 24.95])
    assert result.n_carriers == 3


def test_vibration_is_no_hop():
    result = p_hop(run(np.full((2000, 20, 3), 5.0), noise=0.3))
    assert (result.status, result.n_hops) == ("ok", 0)


def test_without_ions_or_time():
    still = run(steps())
    result = p_hop(still, "Na")
    assert (result.status, result.reason, result.n_hops) == ("empty", "there is no Na", 0)
    assert result.displacement.shape == (0, 3)
    assert PHopResult.model_validate_json(result.model_dump_json()).n_hops == 0
    assert p_hop(still.block(0, 1)).status == "insufficient"
    assert p_hop(still.block(0, 19)).status == "insufficient"
    assert p_hop(still.block(0, 20)).status == "ok"
    coarse = p_hop(run(steps(), time_step=1.0))
    assert coarse.status == "insufficient"
    assert "do not resolve" in coarse.reason


def test_varying_cells_are_refused():
    cells = CELL * np.linspace(1, 1.01, 200)[:, None, None]
    still = run(steps())
    with pytest.raises(TrajectoryError, match="cell varies"):
        p_hop(Trajectory(still.species, still.positions, cells, 0.1))


@pytest.mark.parametrize(
    "options", [{"window": 0.0}, {"threshold": 0.0}, {"smoothing": -1.0}, {"window": math.inf}, {"stride": 0}]
)
def test_parameters_without_meaning_are_refused(options):
    with pytest.raises(InputError):
        p_hop(run(steps()), **options)
