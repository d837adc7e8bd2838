"""g(r), MSD, statistics and sanity checks: arithmetic and edge cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laoc_flows.analysis import (
    DISTANCE_FLOORS,
    Frame,
    Measured,
    MSDResult,
    Trajectory,
    block_average,
    closest_contact,
    coordination_number,
    diffusive_window,
    distance_check,
    first_shell,
    melt_check,
    min_distance_ratio,
    msd,
    pairs,
    rdf,
    reaction_check,
)
from laoc_flows.errors import InputError, TrajectoryError

CELL = np.array([[9.0, 0, 0], [2, 8, 0], [1, -2, 10]])


def brownian(n_frames, n_atoms, seed=0, step=0.5):
    rng = np.random.default_rng(seed)
    return np.cumsum(rng.normal(0, step, (n_frames, n_atoms, 3)), axis=0)


def run(positions, species="Li", time_step=1.0, cell=CELL):
    return Trajectory((species,) * positions.shape[1], positions, cell, time_step)


@pytest.mark.parametrize(("n_frames", "n_atoms"), [(3, 1), (4, 2), (57, 70), (64, 3)])
def test_fft_msd_equals_brute_force(n_frames, n_atoms):
    positions = brownian(n_frames, n_atoms) + 100.0
    result = msd(run(positions, time_step=0.25), "Li", drift="none")
    lags = range(1, (n_frames - 1) // 2 + 1)
    expected = [((positions[k:] - positions[:-k]) ** 2).mean(axis=(0, 1)) for k in lags]
    assert np.abs(np.array(result.per_axis) - expected).max() < 1e-10
    assert np.abs(np.array(result.value) - np.sum(expected, axis=1)).max() < 1e-10
    assert result.lag_time == pytest.approx([0.25 * k for k in lags])
    assert result.n_windows == tuple((n_frames - 1) // k for k in lags)
    assert result.duration == 0.25 * (n_frames - 1)


def test_msd_counts_one_element_relative_to_the_framework():
    true = brownian(50, 4)
    trajectory = Trajectory(("Li", "Al", "Cl", "Li"), true, CELL, 1.0)
    relative = true - (true[:, 1:3].mean(axis=1) - true[0, 1:3].mean(axis=0))[:, None]
    expected = ((relative[10:, [0, 3]] - relative[:-10, [0, 3]]) ** 2).sum(axis=-1).mean()
    assert msd(trajectory, "Li").value[9] == pytest.approx(expected, abs=1e-10)


def test_msd_refuses_a_varying_cell():
    cells = CELL * np.linspace(1, 1.001, 20)[:, None, None]
    with pytest.raises(TrajectoryError, match="cell varies"):
        msd(run(brownian(20, 2), cell=cells), "Li")


@pytest.mark.parametrize(("n_frames", "species"), [(1, "Li"), (2, "Li"), (30, "Al")])
def test_msd_without_data_is_empty_and_insufficient(n_frames, species):
    result = msd(run(brownian(n_frames, 3)), species, drift="none")
    assert result.value == result.lag_time == result.per_axis == ()
    verdict = diffusive_window(result)
    assert (verdict.status, verdict.alpha, verdict.window, verdict.n_eff) == ("insufficient", None, None, 0.0)


def test_atoms_that_do_not_move_are_insufficient():
    verdict = diffusive_window(msd(run(np.zeros((100, 3, 3))), "Li", drift="none"))
    assert verdict.status == "insufficient"


def power_law(exponents, borders, t_max=1000, n_particles=1000, scale=1.0):
    """An MSD that follows t^alpha piecewise, continuous at the borders."""
    t = np.arange(1, t_max + 1.0)
    value, level, previous = np.empty_like(t), scale, 1.0
    for alpha, border in zip(exponents, [*borders, np.inf], strict=True):
        part = (t >= previous) & (t <= border)
        value[part] = level * (t[part] / previous) ** alpha
        level, previous = level * (border / previous) ** alpha, border
    return MSDResult(
        species="Li",
        drift="none",
        n_particles=n_particles,
        duration=2.0 * t_max,
        lag_time=tuple(t),
        value=tuple(value),
        per_axis=tuple((v / 3, v / 3, v / 3) for v in value),
        n_windows=tuple(int(2 * t_max // k) for k in t),
    )


@pytest.mark.parametrize(
    ("exponents", "borders", "status"),
    [
        ((1.0,), (), "diffusive"),
        ((0.91,), (), "diffusive"),
        ((1.09,), (), "diffusive"),
        ((0.85,), (), "subdiffusive"),
        ((1.15,), (), "insufficient"),
        ((2.0,), (), "insufficient"),
        # Diffusive at last, and diffusive for a while before it stalls.
        ((2.0, 0.3, 1.0), (3, 50), "diffusive"),
        ((1.0, 0.3), (100,), "subdiffusive"),
        ((1.0, 0.3), (700,), "diffusive"),
        # Half a decade is needed whole; here the run ends too early to tell.
        ((0.5, 1.0), (400,), "insufficient"),
    ],
)
def test_the_local_exponent_decides(exponents, borders, status):
    verdict = diffusive_window(power_law(exponents, borders))
    assert verdict.status == status, verdict.reason
    if status == "diffusive":
        assert verdict.window[1] / verdict.window[0] >= 10**0.5 * 0.999
        assert 0.9 <= verdict.alpha <= 1.1
    else:
        assert verdict.window is None


def test_n_eff_is_the_squared_displacement_of_all_atoms_over_the_run():
    # 10 atoms, 0.1 A^2 per lag unit, 2000 units: 2000 A^2 in all, or 2000 / 9 squared hops.
    verdict = diffusive_window(power_law((1.0,), (), n_particles=10, scale=0.1))
    assert verdict.n_eff == pytest.approx(2000 / 9)
    poor = diffusive_window(power_law((1.0,), (), n_particles=10, scale=0.013))
    assert poor.n_eff == pytest.approx(260 / 9)
    assert poor.status == "insufficient"
    assert poor.alpha == pytest.approx(1.0)
    assert "N_eff" in poor.reason


def test_short_lags_do_not_count():
    result = power_law((1.0, 0.2), (50,))
    assert diffusive_window(result).status == "subdiffusive"
    assert diffusive_window(result, min_lag=900.0).status == "insufficient"
    with pytest.raises(InputError):
        diffusive_window(result, jump_length=0.0)


def test_g_integrates_to_the_coordination_number():
    rng = np.random.default_rng(3)
    frame = Frame(("Al",) * 5 + ("Cl",) * 9, rng.random((14, 3)) @ CELL, CELL)
    for a, b, n_others in (("Al", "Cl", 9), ("Cl", "Cl", 8)):
        result = rdf(frame, a, b, r_max=12.0)
        shells = 4 / 3 * np.pi * np.diff(np.array(result.edges) ** 3)
        integral = np.cumsum(np.array(result.g) * shells) * n_others / frame.volume
        assert integral == pytest.approx(result.coordination[1:])
        n_pairs = len(pairs(frame, a, b, 7.35).i)
        assert coordination_number(result, 7.35) == pytest.approx(n_pairs / frame.species.count(a))


def test_g_uses_the_volume_of_each_frame():
    fractional = np.random.default_rng(4).random((6, 3))
    scales = (1.0, 1.5)
    cells = np.array([CELL * s for s in scales])
    both = Trajectory(("Cl",) * 6, np.matmul(fractional, cells), cells, 1.0)
    singles = [np.array(rdf(both.frame(k), "Cl", "Cl").g) for k in range(2)]
    assert np.array(rdf(both, "Cl", "Cl").g) == pytest.approx((singles[0] + singles[1]) / 2)


def test_rdf_edge_cases():
    frame = Frame(("Al", "Cl"), [[0, 0, 0], [2, 0, 0]], 4 * np.eye(3))
    absent = rdf(frame, "Al", "O")
    assert (absent.status, absent.g, coordination_number(absent, 4.2)) == ("empty", (), 0.0)
    assert coordination_number(rdf(frame, "O", "Al"), 4.2) is None
    alone = rdf(frame, "Al", "Al")
    assert (alone.status, coordination_number(alone, 4.2)) == ("empty", 6.0)
    assert first_shell(alone) == (None, None)
    with pytest.raises(InputError, match="lies outside"):
        coordination_number(alone, 8.1)
    with pytest.raises(InputError, match="no bins"):
        rdf(frame, "Al", "Al", bin_width=0.0)
    assert 4.2 in rdf(frame, "Al", "Al").edges
    assert type(alone).model_validate_json(alone.model_dump_json()) == alone


def test_first_shell_of_a_split_g():
    r = np.arange(0.025, 8, 0.05)
    g = 8 * np.exp(-(((r - 2.2) / 0.15) ** 2)) + 2 * np.exp(-(((r - 4.0) / 0.3) ** 2)) + (r > 5)
    base = rdf(Frame(("Al", "Cl"), [[0, 0, 0], [2, 0, 0]], 9 * np.eye(3)), "Al", "Cl")
    shell = first_shell(base.model_copy(update={"g": tuple(g)}))
    assert shell.peak == pytest.approx(2.2, abs=0.03)
    assert 2.7 < shell.minimum < 3.2


def test_block_average():
    result = block_average([1.0, 1.0, 2.0, 2.0, 6.0, 6.0], "A", n_blocks=3)
    assert result == Measured(value=3.0, standard_error=(7 / 3) ** 0.5, unit="A", n_independent=3)
    assert block_average([4.0], "ps") == Measured(value=4.0, standard_error=None, unit="ps", n_independent=1)
    assert block_average([1.0, 3.0], "1").n_independent == 2
    for series in ([], [[1.0]], [np.nan]):
        with pytest.raises(InputError, match="cannot be averaged"):
            block_average(series, "1")
    with pytest.raises(InputError, match="n_blocks"):
        block_average([1.0, 2.0], "1", n_blocks=1)


def test_block_average_covers_the_truth():
    rng = np.random.default_rng(0)
    series = [block_average(rng.normal(5, 2, 1000), "A") for _ in range(300)]
    spread = np.std([s.value for s in series])
    assert np.mean([s.standard_error**2 for s in series]) ** 0.5 == pytest.approx(spread, rel=0.15)
    assert spread == pytest.approx(2 / 1000**0.5, rel=0.15)


def test_reactions_and_collapses():
    frame = Frame(("O", "O", "Cl", "Li"), [[0, 0, 0], [1.5, 0, 0], [10, 0, 0], [11.7, 0, 0]], 30 * np.eye(3))
    reacted = reaction_check(frame)
    assert not reacted.passed
    assert reacted.counts == {"O-O": 1}
    (contact,) = reacted.contacts
    assert (contact.i, contact.j, contact.image, contact.limit) == (0, 1, (0, 0, 0), 2.0)
    assert contact.distance == pytest.approx(1.5)
    assert "O-O 1.50 A" in reacted.reason
    collapsed = distance_check(frame)
    assert collapsed.counts == {"Li-Cl": 1, "O-O": 1}
    assert min_distance_ratio(frame) == pytest.approx(0.75)
    assert reaction_check(frame, {"O-O": 1.4}).passed
    with pytest.raises(InputError, match="pair of elements"):
        distance_check(frame, {"LiCl": 1.0})
    # Across the boundary, and an atom with its own image.
    assert reaction_check(Frame(("Cl",), [[0, 0, 0]], np.diag([2.4, 9, 9]))).counts == {"Cl-Cl": 1}


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_the_smallest_ratio_agrees_with_a_full_search(seed):
    rng = np.random.default_rng(seed)
    cell = np.diag(rng.uniform(4, 25, 3)) + rng.uniform(-1, 1, (3, 3))
    n_atoms = int(rng.integers(1, 7))
    frame = Frame(tuple(rng.choice(["Li", "Al", "O", "Cl"], n_atoms)), rng.random((n_atoms, 3)) @ cell, cell)
    expected = min(
        pairs(frame, *key.split("-"), 27.0).distance.min(initial=np.inf) / floor
        for key, floor in DISTANCE_FLOORS.items()
    )
    assert min_distance_ratio(frame) == pytest.approx(expected)
    assert (min_distance_ratio(frame) >= 1) == distance_check(frame).passed


def test_no_named_pair_has_no_ratio():
    frame = Frame(("Na", "Cl"), [[0, 0, 0], [3, 0, 0]], 9 * np.eye(3))
    assert min_distance_ratio(frame, {"Na-O": 2.0}) == np.inf
    assert min_distance_ratio(frame, {"Na-O": 2.0, "Cl-Na": 1.0}) == pytest.approx(3.0)


def melt(al, cl, li, n_frames=11):
    """Al, Cl and Li that end up displaced by the given squared distances, in a cell that drifts."""
    ends = np.array([[al, -al, cl, -cl, li]]).T
    moves = np.sign(ends) * np.sqrt(np.abs(ends)) * np.array([[1.0, 0, 0]])
    wind = np.array([0, 7.0, 0])
    positions = np.linspace(0, 1, n_frames)[:, None, None] * (moves + wind)
    return Trajectory(("Al", "Al", "Cl", "Cl", "Li"), positions, 12 * np.eye(3), 0.1)


def test_melt_check():
    verdict = melt_check(melt(12.0, 15.0, 0.0))
    assert verdict.passed
    assert verdict.displacement == pytest.approx({"Al": 12.0, "Cl": 15.0})
    assert verdict.elapsed == pytest.approx(1.0)
    solid = melt_check(melt(9.0, 15.0, 100.0))
    assert not solid.passed
    assert "Al moved" in solid.reason
    assert melt_check(melt(9.0, 15.0, 0.0), threshold=8.0).passed
    single = melt_check(melt(12.0, 15.0, 0.0, n_frames=11).window(0, 0.1))
    assert (single.passed, single.displacement) == (False, {})
    lithium = Trajectory(("Li",), np.zeros((3, 1, 3)), CELL, 1.0)
    assert not melt_check(lithium).passed


def test_closest_contact_sees_images_and_names_the_pair():
    frame = Frame(("O", "Al"), [[0.1, 0, 0], [9.6, 0, 0]], np.eye(3) * 10)
    contact = closest_contact(frame)
    assert contact.ratio == pytest.approx(0.5 / DISTANCE_FLOORS["Al-O"])
    assert str(contact) == "Al-O 0.50 A"
    assert closest_contact(frame, {"Na-O": 2.0}) is None
