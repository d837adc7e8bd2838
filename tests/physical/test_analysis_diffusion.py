"""Motions whose MSD is known: Brownian walk, harmonic well, free flight, traps, hops on a lattice."""

import numpy as np
import pytest

from laoc_flows.analysis import Trajectory, diffusive_window, msd
from laoc_flows.analysis.transport.conductivity import conductivity, nernst_einstein
from laoc_flows.analysis.transport.diffusion import self_diffusion
from laoc_flows.analysis.transport.haven import haven_ratio
from laoc_flows.analysis.transport.msd import msd_per_particle

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


def trapped_walk(exponent, n_frames=2000, n_atoms=60, seed=0):
    """Hops after waiting times whose distribution falls like t^-(1 + exponent): MSD grows like t^exponent."""
    rng = np.random.default_rng(seed)
    positions = np.zeros((n_frames, n_atoms, 3))
    for atom in range(n_atoms):
        times = np.cumsum(rng.random(n_frames) ** (-1 / exponent))
        hops = np.searchsorted(times, np.arange(n_frames))
        path = np.cumsum(rng.choice([-1.5, 1.5], (n_frames + 1, 3)), axis=0)
        positions[:, atom] = path[hops]
    return positions


def loose(positions, species="Li"):
    n_atoms = positions.shape[1]
    return Trajectory((species,) * n_atoms, positions, CELL, 1.0, continuous=True)


def test_traps_without_a_mean_waiting_time_are_subdiffusive():
    # From one origin MSD ~ t^0.5. Aging hides it from the mean over all origins, which grows like t with a slope that
    # depends on the length of the run: the ensemble is what tells.
    positions = trapped_walk(0.5, n_atoms=400)
    squared = ((positions - positions[0]) ** 2).sum(axis=-1).mean(axis=1)
    lags = np.array([30, 100, 300, 1000])
    assert np.polyfit(np.log(lags), np.log(squared[lags]), 1)[0] == pytest.approx(0.5, abs=0.1)
    early, late = (
        np.array(msd(loose(positions[part]), "Li", drift="none").value)[20]
        for part in (slice(0, 500), slice(1500, 2000))
    )
    assert late < 0.6 * early


def correlated_walk(hurst, n_frames, n_atoms, seed=0):
    """Fractional Brownian motion by its exact spectrum: MSD = 3 t^(2 hurst)."""
    rng = np.random.default_rng(seed)
    k = np.arange(n_frames)
    covariance = 0.5 * (abs(k + 1.0) ** (2 * hurst) - 2 * k ** (2 * hurst) + abs(k - 1.0) ** (2 * hurst))
    spectrum = np.fft.fft(np.concatenate([covariance, [0], covariance[:0:-1]])).real
    noise = rng.normal(size=(len(spectrum), n_atoms, 3)) + 1j * rng.normal(size=(len(spectrum), n_atoms, 3))
    steps = np.fft.fft(np.sqrt(spectrum / len(spectrum))[:, None, None] * noise, axis=0).real[:n_frames]
    return np.cumsum(steps, axis=0)


def test_subdiffusion_gives_a_bound_and_no_number():
    result = self_diffusion(loose(correlated_walk(0.25, 4000, 50)), drift="none")
    assert result.status == "subdiffusive"
    assert result.alpha == pytest.approx(0.5, abs=0.1)
    assert result.value is result.interval is None
    # MSD / 6t at a fifth of the run, and a little above.
    assert result.upper_bound_lag == 799
    assert 1 < result.upper_bound / (3 * 799**0.5 / (6 * 799) * 1e-4) < 1.5
    sigma = conductivity(loose(correlated_walk(0.25, 4000, 50)), 300.0, drift="none")
    assert (sigma.status, sigma.value) == ("subdiffusive", None)
    assert sigma.upper_bound > 0


def test_a_lattice_hop_has_the_coefficient_of_its_rate():
    # D = rate a^2 / 6: 0.05 hops per ps over 3 A, among vibrations.
    rng = np.random.default_rng(12)
    n_frames, n_atoms = 4000, 60
    axes = np.eye(3)[rng.integers(0, 3, (n_frames, n_atoms))] * rng.choice(
        [-3.0, 3.0], (n_frames, n_atoms, 1)
    )
    hops = np.cumsum(axes * (rng.random((n_frames, n_atoms, 1)) < 0.05), axis=0)
    result = self_diffusion(loose(hops + rng.normal(0, 0.2, hops.shape)), drift="none")
    assert result.status == "diffusive", result.reason
    assert result.interval[0] < 0.05 * 9 / 6 * 1e-4 < result.interval[1]
    assert result.standard_error < 0.05 * result.value


def test_a_caged_ion_has_no_value():
    result = self_diffusion(loose(well(0.5, 1.0)[:, :60]), drift="none")
    assert result.status in {"subdiffusive", "insufficient"}
    assert result.value is None
    assert result.upper_bound < 2 * 6 * 0.5**2 / (6 * result.upper_bound_lag) * 1e-4


def test_rotating_ligands_plateau():
    rng = np.random.default_rng(3)
    corners = 2.15 * np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / 3**0.5
    which = np.cumsum((rng.random((6000, 8)) < 0.05) * rng.integers(1, 4, (6000, 8)), axis=0)
    positions = np.concatenate([np.zeros((6000, 8, 3)), corners[which % 4]], axis=1)
    run = Trajectory(("Al",) * 8 + ("Cl",) * 8, positions, CELL, 1.0, continuous=True)
    each = msd_per_particle(run, "Cl", drift="none")
    long = np.array(each.lag_time) > 300
    assert each.value[long].mean() == pytest.approx(2 * 2.15**2, rel=0.05)


def test_a_salt_of_known_conductivity():
    """Ions of two kinds that all walk, in a drifting cell, measured against the resting one."""
    rng = np.random.default_rng(21)
    n = 30
    moves = np.cumsum(rng.normal(0, 0.25, (6000, 2 * n, 3)), axis=0)
    moves[:, n:] *= 0.5
    exact = nernst_einstein(1e24 / abs(np.linalg.det(CELL)), 3 * 0.25**2 / 6 * 1e-4 * n * (1 + 0.25), 300.0)
    drift = np.arange(6000)[:, None, None] * np.array([0.01, 0.0, -0.02])
    for x in (moves, moves + drift):
        run = Trajectory(("Li",) * n + ("Cl",) * n, x, CELL, 1.0, continuous=True)
        result = conductivity(run, 300.0, "collective")
        assert result.status == "diffusive", result.reason
        assert result.interval[0] < exact < result.interval[1]


def test_haven_ratios_of_many_runs():
    hits = 0
    for seed in range(60):
        moves = np.cumsum(np.random.default_rng(seed).normal(0, 0.4, (3000, 12, 3)), axis=0)
        positions = np.concatenate([np.repeat(moves, 2, axis=1), np.zeros((3000, 24, 3))], axis=1)
        run = Trajectory(("Li",) * 24 + ("Cl",) * 24, positions, CELL, 1.0, continuous=True)
        result = haven_ratio(run, n_resamples=500, seed=seed, alpha_range=(0.8, 1.2))
        hits += result.interval is not None and result.interval[0] < 0.5 < result.interval[1]
    assert hits >= 49


@pytest.mark.slow
def test_the_interval_of_the_coefficient_covers_the_truth():
    found = []
    for seed in range(120):
        rng = np.random.default_rng(seed)
        n_frames = (400, 700, 1000)[seed % 3]
        moves = np.cumsum(rng.normal(0, 0.3, (n_frames, 64, 3)), axis=0) + rng.normal(
            0, 0.3, (n_frames, 64, 3)
        )
        found.append(self_diffusion(loose(moves), drift="none", n_samples=200, seed=seed))
    diffusive = [result for result in found if result.status == "diffusive"]
    assert len(diffusive) >= 110
    hits = [result.interval[0] < 3 * 0.3**2 / 6 * 1e-4 < result.interval[1] for result in diffusive]
    assert 0.90 <= np.mean(hits) <= 0.98
    # The width is right, not only the hit rate.
    z = [(result.value - 0.45e-5) / result.standard_error for result in diffusive]
    assert np.std(z) == pytest.approx(1.0, abs=0.15)
    assert abs(np.mean(z)) < 0.25
