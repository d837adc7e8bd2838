"""Motions whose MSD is known: Brownian walk, harmonic well, free flight."""

import numpy as np
import pytest

from laoc_flows.analysis import Trajectory, diffusive_window, msd

CELL = np.array([[20.0, 0, 0], [4, 18, 0], [-3, 2, 19]])
SPECIES = ("Li",) * 60 + ("Cl",) * 40


def wrapped(displacements, time_step=0.5):
    rng = np.random.default_rng(99)
    fractional = (rng.random((100, 3)) @ CELL + displacements) @ np.linalg.inv(CELL)
    return Trajectory(SPECIES, (fractional - np.floor(fractional)) @ CELL, CELL, time_step)


def walk(step, n_frames=2000, seed=0):
    return np.cumsum(np.random.default_rng(seed).normal(0, step, (n_frames, 100, 3)), axis=0)


def well(amplitude, relaxation, n_frames=2000, seed=0):
    """Overdamped motion in a harmonic well: MSD = 6 amplitude^2 (1 - exp(-t / relaxation))."""
    rng = np.random.default_rng(seed)
    keep = np.exp(-1 / relaxation)
    x = np.empty((n_frames, 100, 3))
    x[0] = rng.normal(0, amplitude, (100, 3))
    for k in range(1, n_frames):
        x[k] = keep * x[k - 1] + rng.normal(0, amplitude * np.sqrt(1 - keep**2), (100, 3))
    return x


def test_brownian_walk_is_diffusive():
    result = msd(wrapped(walk(0.3)), "Li", drift="none")
    verdict = diffusive_window(result)
    assert verdict.status == "diffusive", verdict.reason
    # 3 step^2 per frame, and a frame every 0.5 ps.
    expected = 3 * 0.3**2 / 0.5
    at = np.argmin(np.abs(np.array(result.lag_time) - 20.0))
    assert result.value[at] / result.lag_time[at] == pytest.approx(expected, rel=0.03)
    assert verdict.n_eff == pytest.approx(60 * expected * result.duration / 9, rel=0.2)


def test_the_framework_frame_of_a_drifting_cell():
    moves = walk(0.3)
    moves[:, 60:] = np.random.default_rng(5).normal(0, 0.05, (2000, 40, 3))
    drift = np.arange(2000)[:, None, None] * np.array([0.05, 0.02, 0.0])
    still = msd(wrapped(moves), "Li").value
    assert msd(wrapped(moves + drift), "Li").value == pytest.approx(still, rel=1e-6)
    assert msd(wrapped(moves + drift), "Li", drift="none").value[-1] > 2 * still[-1]


def test_harmonic_well_is_not_diffusive():
    result = msd(wrapped(well(0.5, 1.0)), "Li", drift="none")
    assert result.value[-1] == pytest.approx(6 * 0.5**2, rel=0.05)
    verdict = diffusive_window(result)
    assert verdict.status != "diffusive"
    assert verdict.alpha == pytest.approx(0.0, abs=0.1)


def test_a_slow_well_is_diffusive_only_for_a_while():
    # MSD grows like t for a decade and then saturates: many hops' worth of motion, and yet no diffusion.
    verdict = diffusive_window(msd(wrapped(well(3.0, 40.0)), "Li", drift="none"))
    assert verdict.n_eff > 30
    assert verdict.status == "subdiffusive", verdict.reason


def test_hopping_between_cages_becomes_diffusive():
    rattle = np.random.default_rng(7).normal(0, 0.3, (2000, 100, 3))
    rng = np.random.default_rng(8)
    hops = (rng.random((2000, 100, 1)) < 0.05) * rng.choice([-2.0, 2.0], (2000, 100, 3))
    verdict = diffusive_window(msd(wrapped(rattle + np.cumsum(hops, axis=0)), "Li", drift="none"))
    assert verdict.status == "diffusive", verdict.reason
    assert verdict.window[0] > 1.0


def test_free_flight_is_not_diffusive():
    velocity = np.random.default_rng(3).normal(0, 0.1, (100, 3))
    result = msd(wrapped(np.arange(2000)[:, None, None] * velocity), "Li", drift="none")
    verdict = diffusive_window(result)
    assert verdict.alpha == pytest.approx(2.0, abs=1e-6)
    assert verdict.status == "insufficient"


def test_a_frozen_glass_is_insufficient():
    verdict = diffusive_window(msd(wrapped(well(0.2, 1.0, n_frames=500)), "Li", drift="none"))
    assert verdict.status == "insufficient"
    assert verdict.n_eff < 30
