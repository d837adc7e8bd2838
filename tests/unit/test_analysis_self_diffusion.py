"""Self-diffusion: refusals, bounds, reproducibility, and the combination of glasses."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from laoc_flows.analysis import Trajectory
from laoc_flows.analysis.transport.diffusion import DiffusionResult, hop_limit, self_diffusion, window_lags
from laoc_flows.analysis.transport.ensemble import combine, combine_diffusion
from laoc_flows.errors import InputError, TrajectoryError

CELL = 30 * np.eye(3)


def walk(n_frames=1000, n_atoms=48, step=0.4, seed=0, species=None):
    moves = np.cumsum(np.random.default_rng(seed).normal(0, step, (n_frames, n_atoms, 3)), axis=0)
    return Trajectory(species or ("Li",) * n_atoms, moves, CELL, 1.0, continuous=True)


@pytest.fixture(scope="module")
def diffusive():
    return self_diffusion(walk(), drift="none", n_samples=200)


def test_a_diffusive_run_has_a_value_and_no_bound(diffusive):
    assert diffusive.status == "diffusive"
    assert diffusive.upper_bound is diffusive.upper_bound_lag is None
    low, high = diffusive.interval
    assert low < diffusive.value < high
    assert high - low == pytest.approx(2 * 1.96 * diffusive.standard_error, rel=0.1)
    # 3 * 0.4^2 / 6 A^2/ps.
    assert low < 0.08e-4 < high
    assert DiffusionResult.model_validate_json(diffusive.model_dump_json()) == diffusive


def test_the_seed_decides_and_the_global_random_state_does_not(diffusive):
    np.random.seed(17)  # noqa: NPY002 - kinisi's own
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - kinisi's own
    assert self_diffusion(walk(), drift="none", n_samples=200) == diffusive
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002 - kinisi's own
    other = self_diffusion(walk(), drift="none", n_samples=200, seed=1)
    assert other.value != diffusive.value
    assert other.value == pytest.approx(diffusive.value, abs=0.3 * diffusive.standard_error)


def test_nothing_is_printed(capfd):
    self_diffusion(walk(), drift="none", n_samples=50)
    assert capfd.readouterr() == ("", "")


def test_copies_widen_the_interval():
    one_atom_moved = np.repeat(walk(4000, 12).positions, 4, axis=1)
    copied = Trajectory(("Li",) * 48, one_atom_moved, CELL, 1.0, continuous=True)
    flagged = self_diffusion(copied, drift="none", n_samples=200, copies=4)
    ignored = self_diffusion(copied, drift="none", n_samples=200)
    assert flagged.copies == 4
    assert flagged.n_eff == pytest.approx(ignored.n_eff / 4)
    assert flagged.standard_error == pytest.approx(2 * ignored.standard_error, rel=0.25)
    assert self_diffusion(walk(), drift="none", copies=200).status == "insufficient"


def test_a_few_fast_atoms_widen_the_interval():
    # Eight atoms of 48 do all the moving; that it was eight is a draw with a spread of D sqrt(5 / 48).
    fast = walk(4000, 8, 0.4 * 6**0.5).positions
    moves = np.concatenate([fast, np.zeros((4000, 40, 3))], axis=1)
    uneven, even = (
        self_diffusion(Trajectory(("Li",) * 48, x, CELL, 1.0, continuous=True), drift="none", n_samples=200)
        for x in (moves, walk(4000).positions)
    )
    assert even.variance_factor < 1
    assert uneven.variance_factor > 100
    assert uneven.standard_error == pytest.approx(uneven.value * (5 / 48) ** 0.5, rel=0.1)


@pytest.mark.parametrize("n_frames", [1, 2, 3, 12])
def test_short_runs_are_insufficient(n_frames):
    result = self_diffusion(walk(n_frames), drift="none")
    assert (result.status, result.value, result.interval) == ("insufficient", None, None)
    assert (result.upper_bound is None) == (n_frames < 3)


def test_absent_species_are_empty():
    result = self_diffusion(walk(), "P", drift="none")
    assert (result.status, result.value, result.upper_bound, result.n_particles) == ("empty", None, None, 0)


def test_atoms_at_rest_have_a_bound_that_hops_set():
    still = Trajectory(("Li",) * 5, np.ones((101, 5, 3)), CELL, 2.0)
    result = self_diffusion(still, drift="none")
    assert result.status == "insufficient"
    # No event where 3.69 were expected: 3.69 * a^2 / (6 N T).
    assert result.upper_bound == pytest.approx(3.689 * 9 / (6 * 5 * 200) * 1e-4, rel=1e-3)
    shorter = self_diffusion(still, drift="none", jump_length=1.5)
    assert shorter.upper_bound == pytest.approx(result.upper_bound / 4)


def test_free_flight_is_bounded_by_nothing():
    velocity = np.random.default_rng(1).normal(0, 0.05, (8, 3))
    flight = Trajectory(("Li",) * 8, np.arange(400)[:, None, None] * velocity, CELL, 1.0, continuous=True)
    result = self_diffusion(flight, drift="none")
    assert (result.status, result.upper_bound) == ("insufficient", None)
    assert result.alpha == pytest.approx(2.0, abs=1e-6)


def test_the_bound_holds_for_a_slow_walk():
    for seed in range(20):
        result = self_diffusion(walk(200, 4, 0.05, seed), drift="none", min_n_eff=1e6)
        if result.upper_bound is not None:
            assert result.upper_bound > 3 * 0.05**2 / 6 * 1e-4


def test_hop_limit_is_the_poisson_limit():
    for n in (0, 1, 5, 40):
        limit = hop_limit(n * 9.0 / 100, 100.0, 3.0) * 100 / 9
        assert stats.poisson.cdf(n, limit) == pytest.approx(0.025)


def test_what_is_refused():
    cells = CELL * np.linspace(1, 1.001, 1000)[:, None, None]
    swelling = Trajectory(("Li",) * 48, walk().positions, cells, 1.0, continuous=True)
    with pytest.raises(TrajectoryError, match="cell varies"):
        self_diffusion(swelling, drift="none")
    for options in ({"max_lags": 2}, {"n_samples": 0}, {"min_windows": 0}, {"seed": -1}, {"copies": 0}):
        with pytest.raises(InputError):
            self_diffusion(walk(), drift="none", **options)
    with pytest.raises(InputError, match="no window"):
        self_diffusion(walk(), drift="none", jump_length=0.0)
    with pytest.raises(TrajectoryError, match="no framework"):
        self_diffusion(walk())


def test_window_lags_stay_inside():
    assert window_lags((0.3, 0.9), 0.1, 30).tolist() == list(range(3, 10))
    lags = window_lags((1.05, 77.7), 0.2, 12)
    assert lags[0] * 0.2 >= 1.05
    assert lags[-1] * 0.2 <= 77.7


def laird(y, s):
    """Method of moments by DerSimonian and Laird, and its mean."""
    w = 1 / s**2
    fixed = (w @ y) / w.sum()
    q = w @ (y - fixed) ** 2
    tau = max(0.0, (q - (len(y) - 1)) / (w.sum() - (w**2).sum() / w.sum()))
    w = 1 / (s**2 + tau)
    return (w @ y) / w.sum(), tau**0.5


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**31), n=st.integers(2, 12), error=st.floats(0.05, 3.0))
def test_equal_errors_give_the_method_of_moments(seed, n, error):
    y = np.random.default_rng(seed).normal(5, 1, n)
    result = combine(y, np.full(n, error))
    value, between = laird(y, np.full(n, error))
    assert result.value == pytest.approx(value)
    assert result.between_glasses == pytest.approx(between, abs=2e-3)
    assert result.within_runs == pytest.approx(error)
    # The spread of the values is in the error of the mean, whichever component holds it.
    assert result.standard_error**2 * n >= 0.999 * max(y.var(ddof=1), error**2)
    assert result.between_members is None
    scaled = combine(1e-9 * y, np.full(n, 1e-9 * error))
    assert scaled.value == pytest.approx(1e-9 * result.value)
    assert scaled.standard_error == pytest.approx(1e-9 * result.standard_error, rel=1e-3)


def test_a_full_design_gives_the_analysis_of_variance():
    rng = np.random.default_rng(2)
    table = 10 + rng.normal(0, 2.0, (12, 1)) + rng.normal(0, 1.0, (1, 7)) + rng.normal(0, 0.5, (12, 7))
    glasses, members = np.indices(table.shape)
    result = combine(
        table.ravel(), np.full(table.size, 0.5), glasses=glasses.ravel(), members=members.ravel(), unit="A"
    )
    # One degree of freedom is spent on each mean, none on the error, which is known.
    for found, axis in ((result.between_glasses, 1), (result.between_members, 0)):
        spread = table.mean(axis=axis).var(ddof=1)
        assert found**2 == pytest.approx(spread - 0.5**2 / table.shape[axis], rel=1e-3)
    assert result.value == pytest.approx(table.mean())
    assert result.interval[0] < 10 < result.interval[1]
    assert (result.status, result.unit) == ("ok", "A")
    assert (result.n_runs, result.n_glasses, result.n_members) == (84, 12, 7)
    # A design with holes finds nearly the same.
    keep = rng.permutation(84)[:60]
    part = combine(
        table.ravel()[keep],
        np.full(60, 0.5),
        glasses=glasses.ravel()[keep],
        members=members.ravel()[keep],
    )
    assert part.between_glasses == pytest.approx(result.between_glasses, rel=0.2)
    assert part.between_members == pytest.approx(result.between_members, rel=0.2)


def test_members_with_glasses_of_their_own_are_not_told_apart():
    result = combine([1, 2, 3, 4], [0.1] * 4, members=["a", "b", "c", "d"])
    assert result.between_members is None
    assert result.between_glasses > 1


def test_the_interval_covers_the_mean():
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(100):
        errors = rng.uniform(0.2, 1.0, 6)
        low, high = combine(3 + rng.normal(0, 1, 6) + rng.normal(0, errors), errors).interval
        hits += low < 3 < high
    assert hits >= 89


def test_combination_edge_cases(diffusive):
    assert combine([], []).status == "empty"
    assert combine([1.0], [0.1]).status == "insufficient"
    assert combine([1.0, 1.1], [0.1, 0.1], glasses=["a", "a"]).value is None
    assert combine([1.0, 1.1], [0.1, 0.1]).status == "few"
    exact = combine([2.0, 2.0, 2.0], [0.0, 0.0, 0.0])
    assert (exact.value, exact.standard_error, exact.between_glasses) == (2.0, 0.0, 0.0)
    for values, errors in (([1.0], [0.1, 0.2]), ([np.nan], [0.1]), ([1.0], [-1.0])):
        with pytest.raises(InputError):
            combine(values, errors)
    slow = self_diffusion(walk(5), drift="none")
    refused = combine_diffusion([diffusive, slow])
    assert (refused.status, refused.value, refused.n_runs) == ("insufficient", None, 2)
    assert "1 of 2 runs" in refused.reason
    other = diffusive.model_copy(update={"value": diffusive.value * 1.1})
    both = combine_diffusion([diffusive, other])
    assert (both.status, both.unit) == ("few", "cm^2/s")
    assert both.value == pytest.approx(diffusive.value * 1.05)
    with pytest.raises(InputError, match="different elements"):
        combine_diffusion([diffusive, diffusive.model_copy(update={"species": "Cl"})])
    with pytest.raises(InputError, match="same length"):
        combine_diffusion([diffusive], glasses=["a", "b"])
