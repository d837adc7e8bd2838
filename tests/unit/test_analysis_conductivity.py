"""Conductivity and Haven ratio: units, identities, known correlations, refusals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laoc_flows.analysis import Trajectory
from laoc_flows.analysis.transport.collective import charge_displacement
from laoc_flows.analysis.transport.conductivity import ConductivityResult, conductivity, nernst_einstein
from laoc_flows.analysis.transport.haven import HavenResult, haven_ratio
from laoc_flows.analysis.transport.resampling import block_bootstrap, block_borders, slope_weights
from laoc_flows.errors import InputError, TrajectoryError

CELL = np.array([[20.0, 0, 0], [3, 19, 0], [-2, 4, 21]])
VOLUME = abs(np.linalg.det(CELL))
FAST = {"n_resamples": 400}


def steps(n_frames, n_atoms, seed=0, step=0.4):
    return np.random.default_rng(seed).normal(0, step, (n_frames, n_atoms, 3))


def salt(moves, n_cl=None, **options):
    """Li that make the given moves among Cl that rest."""
    n_li = moves.shape[1]
    positions = np.zeros((len(moves), n_li + (n_cl or n_li), 3))
    positions[:, :n_li] = np.cumsum(moves, axis=0)
    return Trajectory(
        ("Li",) * n_li + ("Cl",) * (n_cl or n_li), positions, CELL, 1.0, continuous=True, **options
    )


@pytest.fixture(scope="module")
def independent():
    return salt(steps(4000, 12))


def test_the_unit():
    assert nernst_einstein(8.06e21, 2.4034e-7, 300.0) == pytest.approx(12.0, abs=0.01)
    assert nernst_einstein(8.06e21, 2.4034e-7, 300.0, 2.0) == pytest.approx(48.0, abs=0.04)
    assert nernst_einstein(8.06e21, 2.4034e-7, 600.0) == pytest.approx(6.0, abs=0.01)


def test_nernst_einstein_is_the_diffusion_coefficient_in_other_units(independent):
    result = conductivity(independent, 450.0, n_samples=100)
    assert result.status == "diffusive"
    assert result.number_density == pytest.approx(12e24 / VOLUME)
    for mine, theirs in (
        (result.value, result.diffusion.value),
        (result.interval[1], result.diffusion.interval[1]),
        (result.standard_error, result.diffusion.standard_error),
    ):
        assert mine == pytest.approx(nernst_einstein(12e24 / VOLUME, theirs, 450.0))
    assert result.charges == {"Li": 1.0}
    assert ConductivityResult.model_validate_json(result.model_dump_json()) == result


def test_independent_ions_have_the_collective_conductivity_of_nernst_einstein(independent):
    exact = nernst_einstein(12e24 / VOLUME, 3 * 0.4**2 / 6 * 1e-4, 300.0)
    result = conductivity(independent, 300.0, "collective", **FAST)
    assert result.status == "diffusive"
    assert result.n_blocks >= 10
    assert result.interval[0] < exact < result.interval[1]
    haven = haven_ratio(independent, **FAST)
    assert haven.interval[0] < 1 < haven.interval[1]
    assert haven.value == pytest.approx(haven.tracer / haven.collective)
    # D_sigma is sigma in other units.
    assert nernst_einstein(12e24 / VOLUME, haven.collective, 300.0) == pytest.approx(result.value)
    assert HavenResult.model_validate_json(haven.model_dump_json()) == haven


@pytest.mark.parametrize("k", [2, 3])
def test_ions_that_move_together(k):
    groups = salt(np.repeat(steps(4000, 8), k, axis=1))
    haven = haven_ratio(groups, **FAST)
    assert haven.interval[0] < 1 / k < haven.interval[1]


def test_one_group_of_ions_has_exactly_one_kth():
    one = salt(np.repeat(steps(4000, 1, seed=3), 8, axis=1))
    haven = haven_ratio(one, alpha_range=(0.5, 1.5), **FAST)
    assert haven.value == pytest.approx(1 / 8, rel=1e-9)
    assert haven.interval == pytest.approx((1 / 8, 1 / 8), rel=1e-9)


def test_opposite_moves_carry_no_current():
    moves = steps(4000, 8)
    opposite = salt(np.concatenate([moves, -moves], axis=1))
    result = conductivity(opposite, 300.0, "collective", **FAST)
    assert (result.status, result.value, result.interval) == ("diffusive", 0.0, (0.0, 0.0))
    haven = haven_ratio(opposite, **FAST)
    assert (haven.status, haven.value, haven.interval) == ("insufficient", None, None)
    assert haven.tracer > 0
    # Neutral pairs diffuse and carry nothing either.
    pairs = np.tile(np.cumsum(moves, axis=0), (1, 2, 1))
    molecules = Trajectory(("Li",) * 8 + ("Cl",) * 8, pairs, CELL, 1.0, continuous=True)
    assert conductivity(molecules, 300.0, "collective", drift="none", **FAST).value == pytest.approx(0.0)


def test_charges_count_squared(independent):
    for method in ("nernst-einstein", "collective"):
        options = {**FAST, "n_samples": 50}
        one = conductivity(independent, 300.0, method, **options)
        two = conductivity(independent, 300.0, method, charges={"Li": 2, "Cl": -2}, **options)
        assert two.value == pytest.approx(4 * one.value)
        assert two.interval == pytest.approx(tuple(4 * limit for limit in one.interval))
    assert haven_ratio(independent, charges={"Li": -2, "Cl": 2}, **FAST).value == pytest.approx(
        haven_ratio(independent, **FAST).value
    )


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_the_total_charge_displacement_does_not_depend_on_the_drift(seed):
    species = ("Li", "Al", "O", "Cl", "Cl")
    rng = np.random.default_rng(seed)
    moves = np.cumsum(rng.normal(0, 0.3, (40, 5, 3)) + rng.normal(0, 0.3, (40, 1, 3)), axis=0)
    trajectory = Trajectory(species, rng.random((5, 3)) @ CELL + moves, CELL, 1.0)
    none = charge_displacement(trajectory, drift="none")
    charges = np.array([1, 3, -2, -1, -1])
    assert none == pytest.approx(np.einsum("a,tac->tc", charges, moves - moves[0]), abs=1e-9)
    for drift in ("framework", "com"):
        assert charge_displacement(trajectory, drift=drift) == pytest.approx(none, abs=1e-9)


def test_chunks_make_no_difference(independent, monkeypatch):
    whole = charge_displacement(independent)
    monkeypatch.setattr("laoc_flows.analysis.transport.collective.CHUNK_BYTES", 24 * 24 * 7)
    assert charge_displacement(independent) == pytest.approx(whole, abs=1e-12)


def test_time_reversal(independent):
    backward = Trajectory(independent.species, independent.positions[::-1], CELL, 1.0, continuous=True)
    forth, back = (conductivity(run, 300.0, "collective", **FAST) for run in (independent, backward))
    # Blocks of origins end elsewhere, the displacements are the same.
    assert back.value == pytest.approx(forth.value, rel=0.05)


def test_a_supercell_of_copies_overstates_only_what_it_must(independent):
    double = Trajectory(
        independent.species * 2,
        np.concatenate([independent.positions, independent.positions + CELL[0]], axis=1),
        np.diag([2, 1, 1]) @ CELL,
        1.0,
        continuous=True,
    )
    one = conductivity(independent, 300.0, n_samples=100)
    two = conductivity(double, 300.0, n_samples=100, copies=2)
    assert two.value == pytest.approx(one.value, rel=0.01)
    assert two.diffusion.copies == 2
    assert two.standard_error == pytest.approx(one.standard_error, rel=0.15)
    # Copies that move alike double the collective value and say so in the Haven ratio.
    assert haven_ratio(double, copies=2, **FAST).value == pytest.approx(
        haven_ratio(independent, **FAST).value / 2, rel=1e-6
    )


def test_a_wide_interval_is_refused():
    haven = haven_ratio(salt(steps(4000, 12)), max_factor=1.01, **FAST)
    assert (haven.status, haven.value) == ("insufficient", None)
    assert haven.interval is not None
    assert "factor 1.01" in haven.reason
    few = haven_ratio(salt(steps(4000, 12)), min_blocks=1000, **FAST)
    assert (few.status, few.window, few.interval) == ("insufficient", None, None)
    assert "blocks" in few.reason


def test_slow_ions_get_a_bound_and_no_conductivity():
    slow = salt(steps(400, 6, step=0.02))
    exact = nernst_einstein(6e24 / VOLUME, 3 * 0.02**2 / 6 * 1e-4, 300.0)
    for method in ("nernst-einstein", "collective"):
        result = conductivity(slow, 300.0, method, **FAST)
        assert (result.status, result.value, result.interval) == ("insufficient", None, None)
        assert result.upper_bound > exact
    assert haven_ratio(slow, **FAST).value is None


def test_flight_in_step_is_no_diffusion():
    # Every ion walks, and all drift together along the field: the current grows like t^2.
    moves = steps(4000, 12) + np.array([0.1, 0.0, 0.0])
    result = conductivity(salt(moves), 300.0, "collective", alpha_range=(0.9, 1.2), **FAST)
    assert (result.status, result.value) == ("insufficient", None)


@pytest.mark.parametrize("method", ["nernst-einstein", "collective"])
def test_no_carrier_and_one_frame(method, independent):
    lithium_free = Trajectory(("Al",) + ("Cl",) * 3, np.zeros((50, 4, 3)), CELL, 1.0)
    result = conductivity(lithium_free, 300.0, method)
    assert (result.status, result.value, result.upper_bound, result.number_density) == (
        "empty",
        None,
        None,
        0,
    )
    assert haven_ratio(lithium_free).status == "empty"
    single = independent.block(0, 1)
    result = conductivity(single, 300.0, method)
    assert (result.status, result.value, result.upper_bound) == ("insufficient", None, None)
    assert haven_ratio(single).status == "insufficient"


def test_what_is_refused(independent):
    swelling = CELL * np.linspace(1, 1.001, 4000)[:, None, None]
    npt = Trajectory(independent.species, independent.positions, swelling, 1.0, continuous=True)
    for method in ("nernst-einstein", "collective"):
        with pytest.raises(TrajectoryError, match="cell varies"):
            conductivity(npt, 300.0, method)
        with pytest.raises(InputError, match="charge of Li"):
            conductivity(independent, 300.0, method, charges={"Cl": -1})
        with pytest.raises(InputError, match="temperature"):
            conductivity(independent, 0.0, method)
    with pytest.raises(TrajectoryError, match="cell varies"):
        haven_ratio(npt)
    with pytest.raises(TrajectoryError, match="cell varies"):
        charge_displacement(npt)
    with pytest.raises(InputError, match=r"add up to \+6 e"):
        conductivity(salt(steps(100, 12), 6), 300.0, "collective")
    with pytest.raises(InputError, match="charge of Cl"):
        haven_ratio(independent, charges={"Li": 1})
    with pytest.raises(InputError, match="no charge"):
        haven_ratio(independent, charges={"Li": 0, "Cl": 0})
    with pytest.raises(InputError, match="neither"):
        conductivity(independent, 300.0, "green-kubo")
    with pytest.raises(InputError, match="min_blocks"):
        conductivity(independent, 300.0, "collective", min_blocks=2)
    with pytest.raises(InputError, match="max_factor"):
        haven_ratio(independent, max_factor=1.0)


def test_bootstrap():
    blocks = np.random.default_rng(0).normal(2, 1, (50, 2))
    one = block_bootstrap(blocks, lambda m: m[..., 0], seed=3)
    assert one == block_bootstrap(blocks, lambda m: m[..., 0], seed=3)
    assert one != block_bootstrap(blocks, lambda m: m[..., 0], seed=4)
    assert one.value == pytest.approx(blocks[:, 0].mean())
    assert one.standard_error == pytest.approx(blocks[:, 0].std() / 50**0.5, rel=0.1)
    # What moves together in the blocks cancels in a ratio.
    exact = block_bootstrap(np.outer(blocks[:, 0], [2.0, 1.0]), lambda m: m[..., 0] / m[..., 1])
    assert (exact.value, exact.interval) == (pytest.approx(2.0), pytest.approx((2.0, 2.0)))
    assert block_bootstrap(np.ones((5, 1)), lambda m: m[..., 0]).interval == (1.0, 1.0)
    for wrong in (np.ones((2, 1)), np.ones(5), np.full((5, 1), np.nan)):
        with pytest.raises(InputError, match="resampled"):
            block_bootstrap(wrong, lambda m: m[..., 0])


def test_bootstrap_of_few_blocks_covers():
    rng = np.random.default_rng(1)
    hits = 0
    for seed in range(300):
        low, high = block_bootstrap(
            rng.normal(1, 1, (10, 1)), lambda m: m[..., 0], n_resamples=500, seed=seed
        ).interval
        hits += low < 1 < high
    assert 0.91 < hits / 300 < 0.985


def test_borders_and_weights():
    borders = block_borders(103, 10)
    assert (borders[0], borders[-1], borders.size) == (0, 103, 11)
    assert set(np.diff(borders)) == {10, 11}
    with pytest.raises(InputError, match="cannot be cut"):
        block_borders(3, 4)
    t = np.array([1.0, 1.5, 2.0, 3.2])
    assert slope_weights(t) @ np.stack([t, np.ones(4)], axis=1) == pytest.approx([1.0, 0.0], abs=1e-12)
    for wrong in ([1.0], [2.0, 1.0], [0.0, 1.0]):
        with pytest.raises(InputError, match="slope"):
            slope_weights(wrong)
