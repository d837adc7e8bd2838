"""T_g from V(T): known kinks, no kinks, and what must not matter."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from laoc_flows.analysis.disorder.glass_transition import GlassTransitionResult, glass_transition
from laoc_flows.errors import InputError

T = np.arange(300.0, 1001.0, 25.0)
GLASS, LIQUID = 0.1, 0.3


def kinked(t_g, width=0.0, noise=0.0, seed=0, t=T):
    """V(T) of a hyperbola around 2600 A^3 at T_g."""
    x = np.asarray(t) - t_g
    smooth = 2600 + (GLASS + LIQUID) / 2 * x + (LIQUID - GLASS) / 2 * np.sqrt(x**2 + width**2)
    return smooth + np.random.default_rng(seed).normal(0, noise, x.size)


def test_a_kink_without_noise_is_found_to_a_fraction_of_the_spacing():
    result = glass_transition(T, kinked(612.0))
    assert result.status == "ok", result.reason
    assert result.t_g.value == pytest.approx(612.0, abs=1.0)
    assert result.expansion_glass.value == pytest.approx(GLASS / 2600, rel=1e-2)
    assert result.expansion_liquid.value == pytest.approx(LIQUID / 2600, rel=1e-2)
    assert result.volume == pytest.approx(2600, abs=1.0)
    assert result.width == 0.0
    assert (result.t_g.unit, result.expansion_glass.unit) == ("K", "1/K")
    assert np.abs(result.fit - result.volumes).max() < 0.1


@pytest.mark.parametrize("width", [0.0, 40.0])
def test_the_interval_holds_the_truth(width):
    rng = np.random.default_rng(3)
    hits, n_ok = 0, 0
    for seed in range(60):
        t_g = rng.uniform(500, 750)
        result = glass_transition(T, kinked(t_g, width, 1.5, seed), n_bootstrap=200, seed=seed)
        n_ok += result.status == "ok"
        if result.status == "ok":
            hits += result.interval[0] <= t_g <= result.interval[1]
            assert result.interval[0] <= result.t_g.value <= result.interval[1]
    assert n_ok == 60
    assert hits >= 0.9 * n_ok


def test_the_standard_error_is_the_scatter_of_repeated_experiments():
    found = [glass_transition(T, kinked(620.0, 0.0, 1.5, seed), n_bootstrap=200) for seed in range(40)]
    scatter = np.std([result.t_g.value for result in found])
    assert np.mean([result.t_g.standard_error for result in found]) == pytest.approx(scatter, rel=0.35)
    slopes = np.std([result.expansion_liquid.value for result in found])
    claimed = np.mean([result.expansion_liquid.standard_error for result in found])
    assert claimed == pytest.approx(slopes, rel=0.35)


@pytest.mark.parametrize("noise", [0.0, 0.2, 2.0])
def test_a_straight_line_has_no_transition(noise):
    for seed in range(30):
        v = 2600 + 0.2 * T + np.random.default_rng(seed).normal(0, noise, T.size)
        result = glass_transition(T, v, n_bootstrap=10)
        assert result.status == "insufficient"
        assert (result.t_g, result.interval, result.volume, result.width) == (None,) * 4
        assert (result.expansion_glass, result.expansion_liquid) == (None, None)
        assert result.fit.size == 0


@pytest.mark.parametrize(
    ("volumes", "word"),
    [
        (2600 + 0.1 * T + 2e-4 * (T - 600) ** 2, "parabola"),
        (kinked(620.0) * 0 + 2600 + 0.4 * T - 0.2 * np.maximum(T - 620, 0), "grows less"),
        (kinked(330.0), "one side"),
        (kinked(980.0), "one side"),
        (kinked(2000.0), "straight line"),
        (np.full(T.size, 2600.0), "straight line"),
    ],
)
def test_what_is_no_glass_transition(volumes, word):
    noisy = volumes + np.random.default_rng(0).normal(0, 0.05, T.size)
    result = glass_transition(T, noisy, n_bootstrap=10)
    assert result.status == "insufficient"
    assert word in result.reason


@pytest.mark.parametrize("n", [0, 1, 2, 7])
def test_too_few_points(n):
    t = np.linspace(300, 900, n)
    result = glass_transition(t, kinked(600.0, t=t))
    assert (result.status, result.n_points, result.delta_bic) == ("insufficient", n, None)
    assert "fewer" in result.reason
    # Repeated temperatures are no new ones.
    again = glass_transition(np.repeat(t, 5), np.repeat(kinked(600.0, t=t), 5))
    assert again.status == "insufficient"


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31), scale=st.floats(1e-3, 1e3))
def test_order_and_units_do_not_matter(seed, scale):
    rng = np.random.default_rng(seed)
    t_g = rng.uniform(500, 750)
    v = kinked(t_g, 0.0, 1.0, seed)
    sigma = rng.uniform(0.5, 2, T.size)
    order = rng.permutation(T.size)
    first = glass_transition(T, v, sigma, n_bootstrap=20)
    shuffled = glass_transition(T[order], v[order], sigma[order], n_bootstrap=20)
    assert shuffled.model_dump_json() == first.model_dump_json()
    scaled = glass_transition(T, scale * v, scale * sigma, n_bootstrap=20)
    assert scaled.status == first.status
    if first.status == "ok":
        assert scaled.t_g.value == pytest.approx(first.t_g.value, rel=1e-6)
        assert scaled.interval == pytest.approx(first.interval, rel=1e-6)
        assert scaled.volume == pytest.approx(scale * first.volume, rel=1e-6)
        assert scaled.expansion_glass.value == pytest.approx(first.expansion_glass.value, rel=1e-6)


def test_repeated_temperatures_are_points_like_others():
    t = np.concatenate([T, T, T])
    v = kinked(620.0, 0.0, 1.5, 1, t)
    once = glass_transition(T, kinked(620.0, 0.0, 1.5, 1), n_bootstrap=200)
    thrice = glass_transition(t, v, n_bootstrap=200)
    assert thrice.n_points == 3 * once.n_points
    assert thrice.t_g.value == pytest.approx(620.0, abs=4 * thrice.t_g.standard_error)
    assert thrice.t_g.standard_error < once.t_g.standard_error


def test_points_with_large_errors_count_little():
    v = kinked(620.0, 0.0, 0.5, 2)
    wrong = v.copy()
    wrong[5] += 40.0
    sigma = np.full(T.size, 0.5)
    sigma[5] = 40.0
    good = glass_transition(T, v, np.full(T.size, 0.5))
    assert glass_transition(T, wrong, sigma).t_g.value == pytest.approx(good.t_g.value, abs=5.0)


def test_a_ramp_of_many_frames_is_averaged_in_groups():
    t = np.linspace(1000, 300, 20000)
    result = glass_transition(t, kinked(640.0, 0.0, 20.0, 4, t), n_bootstrap=200)
    assert result.n_points == 200
    assert result.temperatures.size == result.volumes.size == result.fit.size == 200
    assert result.t_g.value == pytest.approx(640.0, abs=4 * result.t_g.standard_error)
    assert result.t_g.standard_error < 10


def test_the_bootstrap_is_reproducible():
    v = kinked(620.0, 0.0, 2.0, 5)
    first, same, other = (glass_transition(T, v, n_bootstrap=50, seed=seed) for seed in (1, 1, 2))
    assert first.t_g == same.t_g
    assert first.interval == same.interval
    assert first.t_g.standard_error != other.t_g.standard_error
    assert first.t_g.value == other.t_g.value
    back = GlassTransitionResult.model_validate_json(first.model_dump_json())
    assert back.t_g == first.t_g
    assert np.array_equal(back.fit, first.fit)


@pytest.mark.parametrize(
    ("t", "v", "errors"),
    [
        ([1.0, 2.0], [1.0], None),
        ([[1.0]], [[1.0]], None),
        ([1.0], [1.0], [1.0, 2.0]),
        ([np.nan], [1.0], None),
        ([1.0], [np.inf], None),
        ([-1.0], [1.0], None),
        ([1.0], [0.0], None),
        ([1.0], [1.0], [0.0]),
    ],
)
def test_input_that_is_no_volume_curve(t, v, errors):
    with pytest.raises(InputError):
        glass_transition(t, v, errors)


@pytest.mark.parametrize(
    "parameters", [{"n_bootstrap": 1}, {"confidence": 1.0}, {"min_points": 1}, {"max_points": 10}]
)
def test_parameters_out_of_range(parameters):
    with pytest.raises(InputError, match="out of range"):
        glass_transition(T, kinked(600.0), **parameters)
