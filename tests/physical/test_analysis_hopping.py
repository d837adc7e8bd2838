"""Hops of motions whose truth is known: lattice walks, cages, correlated jumps, and a vibrating crystal."""

import math

import numpy as np
import pytest
from ase.build import bulk

from laoc_flows.analysis.events.hop_enrichment import jump_diffusion
from laoc_flows.analysis.events.hop_statistics import dwell_curve, hop_classes, hop_matrix
from laoc_flows.analysis.events.hops import hops
from laoc_flows.analysis.events.p_hop import p_hop
from laoc_flows.analysis.trajectories.trajectory import Trajectory
from laoc_flows.analysis.transport.msd import msd

SPACING = 6.0
N_CELLS = 3
DT = 0.1
UP = np.array([0.0, 2.1, 0])


def lattice(walks, noise=0.1, seed=0, spacing=SPACING):
    """A cubic lattice of hosts, and ions that follow integer walks, shape (n_frames, n_ions, 3), on its sites."""
    n_frames = len(walks)
    grid = np.stack(np.meshgrid(*[np.arange(N_CELLS)] * 3, indexing="ij"), axis=-1).reshape(-1, 3) * spacing
    framework = np.concatenate([grid, grid + UP])
    positions = np.concatenate(
        [np.broadcast_to(framework, (n_frames, *framework.shape)), walks * spacing + 2 * UP], axis=1
    )
    positions = positions + np.random.default_rng(seed).normal(0, noise, positions.shape)
    size = N_CELLS * spacing
    species = ("Al",) * len(grid) + ("Cl",) * len(grid) + ("Li",) * walks.shape[1]
    return Trajectory(species, positions % size, size * np.eye(3), DT)


def schedule(n_frames, n_ions, mean_wait, seed=0, least=25, back=0.0):
    """Integer walks with waits of `least` frames and an exponential on top; frames and ions of all jumps.

    A share `back` of the jumps goes back where the last one came from, over and above chance.
    """
    rng = np.random.default_rng(seed)
    walks = np.zeros((n_frames, n_ions, 3))
    found = []
    for ion in range(n_ions):
        last = None
        at = least + int(rng.exponential(mean_wait - least))
        while at < n_frames:
            step = rng.choice([-1, 1]) * np.eye(3)[rng.integers(3)]
            if last is not None and rng.random() < back:
                step = -last
            walks[at:, ion] += step
            found.append((ion, at))
            last = step
            at += least + int(rng.exponential(mean_wait - least))
    return walks, found


def inside(found, n_frames, tau_frames=11):
    """The jumps with a whole dwell before the first and after the last frame."""
    return sorted((ion, at) for ion, at in found if tau_frames <= at <= n_frames - tau_frames)


@pytest.fixture(scope="module")
def walk():
    walks, found = schedule(4000, 40, mean_wait=250)
    run = lattice(walks)
    return run, inside(found, 4000), hops(run)


def test_every_jump_of_a_lattice_walk_is_found(walk):
    _, found, result = walk
    assert len(found) > 500
    assert result.n_hops == len(found)
    first = 2 * N_CELLS**3
    seen = sorted(
        (int(ion) - first, float(t)) for ion, t in zip(result.events.ion, result.events.time, strict=True)
    )
    assert [ion for ion, _ in seen] == [ion for ion, _ in found]
    assert np.abs(np.array([t for _, t in seen]) / DT - [at - 0.5 for _, at in found]).max() < 1.01
    assert result.n_moves == 0
    assert np.linalg.norm(result.events.displacement, axis=1) == pytest.approx(SPACING, abs=0.3)
    # No center has a neighbor within 4.2 A: every hop is from one isolated center to another.
    assert hop_matrix(result).counts.tolist() == [[0, 0, 0, len(found)], [0, 0, 0, 0]]
    assert hop_classes(result).classes[2].share.value == 1.0


def test_both_detectors_find_the_same_hops(walk):
    run, _, result = walk
    other = p_hop(run)
    assert other.n_hops == result.n_hops
    one = sorted(zip(result.events.ion.tolist(), result.events.time.tolist(), strict=True))
    two = sorted(zip(other.ion.tolist(), other.time.tolist(), strict=True))
    assert [ion for ion, _ in one] == [ion for ion, _ in two]
    assert np.abs(np.array([t for _, t in one]) - [t for _, t in two]).max() < 0.16


def test_uncorrelated_hops_carry_the_whole_diffusion(walk):
    run, found, result = walk
    value = jump_diffusion(result)
    # a^2 / (6 <wait>) with the mean wait of the schedule.
    truth = SPACING**2 / (6 * 250 * DT) * 1e-4
    assert abs(value.value - truth) < 3 * value.standard_error
    assert value.standard_error < 0.1 * value.value
    exact = len(found) * SPACING**2 / (6 * result.exposure) * 1e-4
    assert value.value == pytest.approx(exact, rel=0.03)
    curve = msd(run, "Li")
    at = np.argmin(np.abs(np.array(curve.lag_time) - 50.0))
    assert curve.value[at] / (6 * curve.lag_time[at]) * 1e-4 == pytest.approx(value.value, rel=0.15)


def test_back_jumps_carry_less():
    walks, found = schedule(4000, 40, mean_wait=50, back=0.8, seed=3)
    run = lattice(walks)
    result = hops(run)
    assert result.n_hops == pytest.approx(len(inside(found, 4000)), rel=0.01)
    curve = msd(run, "Li")
    at = np.argmin(np.abs(np.array(curve.lag_time) - 60.0))
    ratio = curve.value[at] / (6 * curve.lag_time[at]) * 1e-4 / jump_diffusion(result).value
    # A jump follows the last one with cosine -c, c = 0.8 and no more on average: f = (1 - c) / (1 + c).
    assert ratio == pytest.approx((1 - 0.8) / (1 + 0.8), abs=0.06)
    # Back by intent or by chance (one of six), and within 5 ps of a wait of 2.5 ps and more.
    share = (0.8 + 0.2 / 6) * (1 - math.exp(-1))
    assert hop_classes(result).back_jumps.share.value == pytest.approx(share, abs=0.04)


def test_waiting_times_are_those_of_the_schedule(walk):
    _, _, result = walk
    exchange = dwell_curve(result)
    # 2.5 ps, and an exponential with a mean of 22.5 ps on top.
    for t in (2.0, 10.0, 20.0, 40.0, 60.0):
        truth = math.exp(-max(t - 2.5, 0) / 22.5)
        at = np.searchsorted(exchange.lag, t, side="right") - 1
        n = exchange.n_dwells
        assert exchange.survival[at] == pytest.approx(
            truth, abs=4 * math.sqrt(truth * (1 - truth) / n) + 1e-9
        )
    assert exchange.mean == pytest.approx(25.0, rel=0.1)
    assert exchange.mean_interval[0] < 25.0 < exchange.mean_interval[1]


def test_rates_do_not_depend_on_the_length_of_the_run(walk):
    run, _, result = walk
    rate = hop_classes(result).total.rate
    assert rate.interval[0] < 1000 / 25.0 < rate.interval[1]
    half = hop_classes(hops(run.block(0, 2000))).total.rate
    assert half.interval[0] < 1000 / 25.0 < half.interval[1]


@pytest.mark.parametrize("amplitude", [0.25, 0.35])
def test_ions_in_cages_do_not_hop(amplitude):
    # Overdamped motion in harmonic wells, relaxing within half a picosecond.
    rng = np.random.default_rng(4)
    keep, n_frames = math.exp(-DT / 0.5), 3000
    x = np.zeros((n_frames, 30, 3))
    for k in range(1, n_frames):
        x[k] = keep * x[k - 1] + rng.normal(0, amplitude * math.sqrt(1 - keep**2), (30, 3))
    run = lattice(x / SPACING)
    result = hops(run)
    assert (result.status, result.n_hops, result.n_moves) == ("ok", 0, 0)
    assert hop_classes(result).total.rate.interval[1] == pytest.approx(3.689 / (30 * 297.9e-3), rel=1e-3)
    # Without hosts, wide cages look like rare hops: once per nanosecond at 0.35 A along each axis.
    assert p_hop(run).n_hops <= (0 if amplitude < 0.3 else 9)


def test_a_drifting_crystal_does_not_hop():
    # Zinc blende: Zn as center, S as ligand; the Li sit in tetrahedral voids and everything moves along.
    crystal = bulk("ZnS", "zincblende", a=5.41, cubic=True)
    voids = crystal[crystal.numbers == 30].copy()
    voids.positions += 0.5 * 5.41
    voids.numbers[:] = 3
    crystal += voids
    crystal = crystal.repeat(2)
    rng = np.random.default_rng(6)
    drift = np.arange(300)[:, None, None] * np.array([0.05, 0.02, -0.03])
    positions = crystal.positions + drift + rng.normal(0, 0.08, (300, len(crystal), 3))
    run = Trajectory(tuple(crystal.get_chemical_symbols()), positions, crystal.cell[:], DT)
    result = hops(run, "Zn", ("S",), cutoffs={"S": 2.9}, chain_cutoff=4.2)
    assert result.labels[0] == "ZnS4"
    assert result.structure_counts[0] > 0.99 * 300 * 32
    assert (result.n_hops, result.n_moves) == (0, 0)
    # The S around a Li have four Zn each, all at one distance: hosts are exchanged by vibration, places are not.
    assert jump_diffusion(result).value == 0


@pytest.mark.parametrize("spacing", [3.9, 6.0])
def test_hops_of_a_percolating_network_stay_in_it(spacing):
    # At 3.9 A the lattice of centers is one network in all images; at 6 A there is none.
    walks, found = schedule(1000, 20, mean_wait=60, seed=8)
    run = lattice(walks, noise=0.02, spacing=spacing)
    result = hops(run)
    n = len(inside(found, 1000))
    counts = hop_matrix(result).counts
    # At 3.9 A every ligand bridges two centers, so that some steps keep one of them as host.
    assert counts.sum() == pytest.approx(n, rel=0.02)
    assert counts[:, 1:].sum() == result.n_hops > 200
    assert counts[1, 1] == (result.n_hops if spacing < 4.2 else 0)
    assert counts[0, 3] == (0 if spacing < 4.2 else result.n_hops)
    assert set(result.events.origin_chain_size) == {27 if spacing < 4.2 else 1}
