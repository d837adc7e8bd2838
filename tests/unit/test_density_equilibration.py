"""Density equilibration against melts whose equation of state is known exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq
from scipy.signal import lfilter

from laoc_flows.engines.density import mean_pressure, next_step
from laoc_flows.schemas.base import Measured
from laoc_flows.schemas.label import Attempt
from laoc_flows.schemas.protocol import DensityEquilibration

V0 = 1000.0  # A^3
ROWS = 1000  # of one run
MEMORY = 20  # rows after which the pressure has forgotten itself


def murnaghan(volume, modulus, derivative=5.0):
    """Pressure of a melt [GPa]."""
    return modulus / derivative * ((V0 / volume) ** derivative - 1)


def volume_at(target, modulus):
    """Volume at which the pressure is the target [A^3]."""
    return brentq(lambda volume: murnaghan(volume, modulus) - target, 0.3 * V0, 5 * V0)


def correlated(n, size, rng):
    """Noise that remembers itself, as pressures of a melt do."""
    keep = np.exp(-1 / MEMORY)
    start = size * rng.normal()
    kicks = size * np.sqrt(1 - keep**2) * rng.normal(size=n)
    return lfilter([1.0], [1.0, -keep], kicks, zi=[keep * start])[0]


def equilibrate(volume, target, asked, *, modulus=8.0, noise=1.5, seed=0, offset=0.0):
    """Run a melt through the equilibration, as the controller does; the last step and all attempts."""
    rng = np.random.default_rng(seed)
    attempts, rows = [], np.empty(0)
    step, runs = None, 0
    while step is None or step.verdict not in ("equilibrated", "exhausted"):
        runs += 1
        # A new volume relaxes within the part that is left out.
        relaxing = 5 * np.exp(-np.arange(ROWS) / 50) if not rows.size else 0.0
        fresh = murnaghan(volume, modulus) + offset + correlated(ROWS, noise, rng) + relaxing
        rows = np.concatenate([rows, fresh])
        attempt = Attempt(volume=volume, pressure=mean_pressure(rows, asked), time=0.002 * rows.size)
        attempts = [*(attempts if rows.size == ROWS else attempts[:-1]), attempt]
        step = next_step(attempts, runs, target, asked)
        if step.verdict == "volume":
            volume, rows = volume * step.scale**3, np.empty(0)
        else:
            assert step.scale == 1.0
    return step, attempts, runs


@pytest.mark.parametrize("target", [0.0, 3.0])
@pytest.mark.parametrize("modulus", [4.0, 8.0, 25.0])
@pytest.mark.parametrize("start", [0.75, 1.0, 1.5])
def test_it_ends_at_the_volume_of_the_target(start, modulus, target):
    asked = DensityEquilibration(attempts=20)
    right = volume_at(target, modulus)
    for seed in range(10):
        step, attempts, runs = equilibrate(start * right, target, asked, modulus=modulus, seed=seed)
        assert step.verdict == "equilibrated", step
        found = attempts[-1]
        # The mean pressure is within the tolerance, and the true one within the exact error of the mean besides.
        assert abs(found.pressure.value - target) <= 0.5
        off = 0.5 + 4 * 1.5 * np.sqrt(2 * MEMORY / (0.7 * found.time / 0.002))
        assert abs(murnaghan(found.volume, modulus) - target) <= off
        assert len(attempts) <= runs <= 20


def test_the_error_of_the_mean_is_honest():
    asked = DensityEquilibration()
    pull = []
    for seed in range(400):
        found = mean_pressure(2.0 + correlated(4 * ROWS, 1.5, np.random.default_rng(seed)), asked)
        pull.append((found.value - 2.0) / found.standard_error)
    # Five blocks: Student's distribution with four degrees of freedom, of variance two.
    assert np.mean(np.abs(pull) < 2.776) == pytest.approx(0.95, abs=0.04)


def test_the_usual_number_of_runs_is_enough():
    asked = DensityEquilibration()
    ended = [equilibrate(1.2 * V0, 0.0, asked, seed=seed) for seed in range(50)]
    assert sum(step.verdict == "equilibrated" for step, _, _ in ended) >= 48
    assert np.median([runs for _, _, runs in ended]) <= 4


def test_it_is_enough_for_packings_that_are_far_too_dense_or_too_loose():
    """As random packings are at the temperature of a melt; the equation of state is curved."""
    starts, moduli, tolerances = (0.7, 0.75, 1.3, 1.5), (4.0, 8.0, 25.0), (0.3, 0.5)
    ended = [
        equilibrate(
            start * V0, 0.0, DensityEquilibration(tolerance=tolerance), modulus=modulus, noise=1.0, seed=s
        )
        for start in starts
        for modulus in moduli
        for tolerance in tolerances
        for s in range(10)
    ]
    failed = sum(step.verdict != "equilibrated" for step, _, _ in ended)
    assert failed / len(ended) < 0.06


def test_a_melt_that_never_has_the_pressure_is_exhausted():
    step, attempts, runs = equilibrate(V0, 0.0, DensityEquilibration(attempts=4), offset=60.0, modulus=8.0)
    assert (step.verdict, runs, len(attempts)) == ("exhausted", 4, 4)
    assert step.scale == 1.0
    assert "against 0 GPa" in step.reason
    assert "after 4 runs" in step.reason
    assert f"{attempts[-1].pressure.value:.2f}" in step.reason
    edges = np.cbrt([attempt.volume for attempt in attempts])
    assert edges[1:] / edges[:-1] == pytest.approx([1.04] * 3)


def test_noise_that_no_length_overcomes_is_exhausted_at_one_volume():
    step, attempts, _ = equilibrate(V0, 0.0, DensityEquilibration(attempts=3, tolerance=0.02), noise=0.5)
    assert step.verdict == "exhausted"
    assert abs(attempts[-1].pressure.value) > 0.02 or attempts[-1].pressure.standard_error > 0.02


def test_a_longer_run_at_a_volume_sharpens_its_mean():
    asked = DensityEquilibration(tolerance=1.0, attempts=30)
    step, attempts, runs = equilibrate(V0, 0.0, asked, noise=12.0, seed=3)
    assert step.verdict == "equilibrated"
    assert attempts[-1].pressure.standard_error <= 1.0
    assert runs > len(attempts)


def attempt(volume, pressure, error=0.1):
    return Attempt(
        volume=volume,
        pressure=Measured(value=pressure, standard_error=error, unit="GPa", n_independent=5),
        time=2.0,
    )


def test_the_slope_between_two_volumes_replaces_the_guess():
    asked = DensityEquilibration(bulk_modulus=8.0, max_strain=0.2)
    first = next_step([attempt(1000, 4.0)], 1, 0.0, asked)
    assert first.scale == pytest.approx(np.exp(4 / 8 / 3))
    # -dP/dlnV = 3 GPa / ln(1.2): the rest of the way along that line.
    second = next_step([attempt(1000, 4.0), attempt(1200, 1.0)], 2, 0.0, asked)
    modulus = 3.0 / np.log(1.2)
    assert second.scale == pytest.approx(np.exp(1.0 / modulus / 3))
    # Pressure that rises with volume is noise: the guess is taken again.
    third = next_step([attempt(1000, 4.0), attempt(1200, 4.2)], 2, 0.0, asked)
    assert third.scale == pytest.approx(np.exp(4.2 / 8 / 3))


@settings(max_examples=200, deadline=None)
@given(
    pressure=st.floats(-100, 100),
    target=st.floats(-10, 100),
    error=st.one_of(st.none(), st.floats(0, 50)),
    max_strain=st.floats(0.001, 0.2),
    runs=st.integers(1, 12),
)
def test_every_step_is_bounded_and_in_the_right_direction(pressure, target, error, max_strain, runs):
    asked = DensityEquilibration(max_strain=max_strain)
    step = next_step([attempt(1000, pressure, error)], runs, target, asked)
    assert 1 / (1 + max_strain) - 1e-12 <= step.scale <= 1 + max_strain + 1e-12
    if step.verdict == "volume":
        assert (step.scale > 1) == (pressure > target)
        assert runs < asked.attempts
    if step.verdict == "equilibrated":
        assert abs(pressure - target) <= asked.tolerance
        assert error is not None
    assert "GPa" in step.reason
