"""Rotors and bonds whose statistics are known, and other codes on the same input."""

import numpy as np
import pytest
from MDAnalysis.analysis.align import rotation_matrix
from MDAnalysis.lib.correlations import autocorrelation
from pymatgen.core import Lattice, Structure
from scipy.spatial.transform import Rotation

from laoc_flows.analysis import Frame, Trajectory, as_frame, msd, tetrahedra
from laoc_flows.analysis.events.bond_history import bond_history
from laoc_flows.analysis.events.bond_persistence import bond_persistence
from laoc_flows.analysis.events.coupling import rotation_hop_coupling
from laoc_flows.analysis.events.rotations import rotations
from laoc_flows.analysis.events.tetrahedron_motion import tetrahedron_motion

RADIUS = 2.15
LEGS = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)


def hosts_on_a_grid(n_side=4, spacing=8.0):
    """Centers far apart, and the cell."""
    grid = np.stack(np.meshgrid(*[np.arange(n_side)] * 3, indexing="ij"), -1).reshape(-1, 3)
    return spacing * grid, np.eye(3) * n_side * spacing


def rotors(directions, time_step, noise=0.0, seed=0):
    """One Al with one Cl per column of directions, shape (n_frames, n, 3); wrapped."""
    n_frames, n = directions.shape[:2]
    centers, cell = hosts_on_a_grid()
    positions = np.empty((n_frames, 2 * n, 3))
    positions[:, :n] = centers[:n]
    positions[:, n:] = centers[:n] + RADIUS * directions
    positions += np.random.default_rng(seed).normal(0, noise, positions.shape)
    species = ("Al",) * n + ("Cl",) * n
    return Trajectory(species, positions - np.floor(positions / cell[0, 0]) * cell[0, 0], cell, time_step)


def jumping(n_frames, n, rate, seed):
    """Directions that jump to another corner of a tetrahedron with a rate per frame, and the number of jumps."""
    rng = np.random.default_rng(seed)
    jumps = rng.random((n_frames, n)) < rate
    jumps[0] = False
    steps = np.where(jumps, rng.integers(1, 4, (n_frames, n)), 0)
    corner = (rng.integers(0, 4, n) + np.cumsum(steps, axis=0)) % 4
    return LEGS[corner], jumps


def test_pure_rotation_plateaus_at_twice_the_squared_bond_length():
    directions, _ = jumping(8000, 60, rate=0.02, seed=0)
    run = rotors(directions, 0.5)
    curve = msd(run, "Cl", drift="none")
    lag, value = np.array(curve.lag_time), np.array(curve.value)
    plateau = value[(lag > 300) & (lag < 600)].mean()
    assert plateau == pytest.approx(2 * RADIUS**2, rel=0.03)
    assert plateau == pytest.approx(9.25, abs=0.3)


@pytest.mark.parametrize("seed", range(3))
def test_the_rate_of_random_jumps_is_found(seed):
    """Jumps with 1 / 100 ps; those that follow within the time of holding (1 %) cannot be told apart."""
    directions, jumps = jumping(4000, 60, rate=1e-3, seed=seed)
    result = rotations(rotors(directions, 0.1, noise=0.1, seed=seed))
    assert result.status == "ok"
    assert len(result.events) == pytest.approx(jumps.sum(), rel=0.04)
    low, high = result.rate.interval
    assert low < 10.0 < high * 1.02
    assert set(result.events.kind) == {"single"}
    assert result.events.angle == pytest.approx(109.47, abs=15)
    assert result.rotating_ligands.count == jumps.any(axis=0).sum()
    assert result.n_migrations == 0


@pytest.mark.parametrize("seed", range(2))
def test_librations_are_no_rotations(seed):
    """Damped librations with a period of 0.3 ps and 15 degrees per axis, as an Ornstein-Uhlenbeck oscillator."""
    rng = np.random.default_rng(seed)
    n_frames, n, step = 20000, 40, 0.02
    omega, damping, width = 2 * np.pi / 0.3, 5.0, np.radians(15)
    angle, speed = rng.normal(0, width, (n, 3)), rng.normal(0, width * omega, (n, 3))
    kept = np.empty((n_frames, n, 3))
    kick = np.sqrt(2 * damping * step) * width * omega
    for t in range(n_frames):
        speed += -(omega**2 * angle + damping * speed) * step + kick * rng.normal(size=(n, 3))
        angle += speed * step
        kept[t] = angle
    assert np.degrees(kept.std()) == pytest.approx(15, rel=0.2)
    turned = Rotation.from_rotvec(kept.reshape(-1, 3)).apply(np.tile(LEGS[0], (n_frames * n, 1)))
    result = rotations(rotors(turned.reshape(n_frames, n, 3), step))
    assert len(result.events) == 0
    assert result.rate.interval[1] < 1.0


def test_diffusing_rotors_leave_a_cone_at_the_known_rate():
    """Mean first passage of rotational diffusion out of a cone: ln(2 / (1 + cos theta)) / D."""
    rng = np.random.default_rng(3)
    n_frames, n, sigma = 20000, 40, np.radians(2.0)
    direction = np.tile([0.0, 0, 1], (n, 1))
    directions = np.empty((n_frames, n, 3))
    for t in range(n_frames):
        direction = direction + sigma * rng.normal(size=(n, 3))
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        directions[t] = direction
    # A walk in steps overshoots the border by 0.583 steps on average (Siegmund).
    theta = np.radians(54.7) + 0.583 * sigma
    passage = np.log(2 / (1 + np.cos(theta))) / (sigma**2 / 2)
    result = rotations(rotors(directions, 1.0), average=0.0, hold=0.0)
    expected = n * n_frames / passage
    assert len(result.events) == pytest.approx(expected, rel=4 / np.sqrt(expected) + 0.01)


def switching(n_frames, n, rate, seed):
    """Bonds that break for good with a rate per frame."""
    rng = np.random.default_rng(seed)
    end = np.ceil(rng.exponential(1 / rate, n)).astype(int)
    broken = np.arange(n_frames)[:, None] >= end
    directions = np.tile([1.0, 0, 0], (n_frames, n, 1)) * np.where(broken, 3.6 / RADIUS, 1.0)[:, :, None]
    return directions, end


def test_bonds_that_break_at_random_survive_exponentially():
    covered = 0
    for seed in range(20):
        directions, end = switching(1000, 60, rate=0.002, seed=seed)
        result = bond_persistence(rotors(directions, 0.1, noise=0.05, seed=seed))
        assert result.residual.n_ended == (end < 1000).sum()
        low, high = result.breaking_rate.interval
        covered += low < 20.0 < high
        truth = np.exp(-0.02 * result.residual.time)
        inside = (result.residual.low <= truth) & (truth <= result.residual.high)
        assert inside.mean() > 0.6
    assert covered >= 17
    pooled = bond_persistence(rotors(switching(1000, 64, 0.002, 99)[0], 0.1))
    assert pooled.continuous == pytest.approx(np.exp(-0.02 * pooled.lag_time), abs=0.1)
    assert pooled.intermittent == pytest.approx(pooled.continuous)


def exchanging(seed, n_frames=300):
    """Every Cl is bonded to exactly one of two Al at each time, so that all origins weigh the same."""
    rng = np.random.default_rng(seed)
    centers, cell = hosts_on_a_grid(3, 9.0)
    n = len(centers)
    side = (rng.random((n_frames, n)) < 0.05).cumsum(axis=0) % 2
    positions = np.empty((n_frames, 3 * n, 3))
    positions[:, :n] = centers
    positions[:, n : 2 * n] = centers + np.array([5.6, 0, 0])
    positions[:, 2 * n :] = centers + np.where(side[:, :, None] == 0, [2.1, 0, 0], [3.5, 0, 0])
    return Trajectory(("Al",) * (2 * n) + ("Cl",) * n, positions, cell, 0.2), side


@pytest.mark.parametrize("seed", range(3))
def test_survival_and_exchanges_agree_with_mdanalysis(seed):
    run, side = exchanging(seed)
    result = bond_persistence(run)
    sets = [{(k, int(s)) for k, s in enumerate(row)} for row in side]
    _, theirs, _ = autocorrelation(sets, 60)
    assert result.continuous[:61] == pytest.approx(theirs, abs=1e-12)
    assert result.lag_time[:61] == pytest.approx(0.2 * np.arange(61))
    exchanges = np.argwhere(np.diff(side, axis=0))
    assert len(result.changes) == len(exchanges)
    assert np.sort(result.changes.time) == pytest.approx(np.sort(0.2 * (exchanges[:, 0] + 1)))
    assert set(result.changed_ligands) == {54 + int(k) for k in exchanges[:, 1]}
    assert rotations(run).n_migrations == len(exchanges)
    assert len(rotations(run).events) == 0


@pytest.mark.parametrize("seed", range(20))
def test_the_best_rotation_is_that_of_mdanalysis(seed):
    rng = np.random.default_rng(seed)
    turn = Rotation.random(rng=rng)
    after = turn.apply(LEGS) + rng.normal(0, 0.1, (4, 3))
    after /= np.linalg.norm(after, axis=1, keepdims=True)
    matrix, _ = rotation_matrix(LEGS, after)
    ours = tetrahedron_motion(LEGS, after, ["Cl"] * 4)
    assert ours.rotation_angle == pytest.approx(
        np.degrees(Rotation.from_matrix(matrix).magnitude()), abs=1e-3
    )


@pytest.fixture(scope="module")
def crystal():
    """LiAlCl4, P2_1/c: Mairesse, Barbier and Vignacourt, Cryst. Struct. Commun. 6, 15 (1977); COD 1004036."""
    structure = Structure.from_spacegroup(
        "P2_1/c",
        Lattice.monoclinic(7.007, 6.504, 12.995, 93.32),
        ["Li", "Al", "Cl", "Cl", "Cl", "Cl"],
        [
            [0.15688, 0.98308, 0.36658],
            [0.70588, 0.32198, 0.89924],
            [0.69400, 0.18329, 0.04695],
            [0.80902, 0.62835, 0.92849],
            [0.92580, 0.18160, 0.81372],
            [0.43947, 0.31364, 0.81280],
        ],
    )
    return as_frame(structure)


def vibrating(frame, n_frames=300, amplitude=0.12):
    rng = np.random.default_rng(0)
    positions = frame.positions + rng.normal(0, amplitude, (n_frames, frame.n_atoms, 3))
    return Trajectory(frame.species, positions, frame.cell, 0.1)


def test_a_vibrating_crystal_keeps_all_bonds_and_rotates_nowhere(crystal):
    run = vibrating(crystal)
    persistence = bond_persistence(run)
    assert (persistence.mean_bonds, persistence.breaking_rate.count) == (16.0, 0)
    assert (persistence.continuous == 1).all()
    assert persistence.changed_share.value == 0
    result = rotations(run)
    assert (len(result.events), result.n_migrations, result.n_hosted) == (0, 0, 16)
    by_type = {row.label: (row.mean_hosts, row.mean_ligands) for row in result.by_type}
    assert by_type["AlCl4"] == (4.0, 16.0)


def test_one_tetrahedron_of_the_crystal_tumbles(crystal):
    run = vibrating(crystal, amplitude=0.08)
    history = bond_history(Trajectory(crystal.species, crystal.positions[None], crystal.cell, 0.1))
    center = int(history.center_indices[0])
    rows = np.flatnonzero(history.bond_center == center)
    positions = run.positions.copy()
    bonds = crystal.positions[history.bond_ligand[rows]] + history.bond_image[rows] @ crystal.cell
    # About the bisector of two bonds all four ligands turn by the same 70 degrees.
    axis = (bonds - crystal.positions[center])[:2].sum(axis=0)
    # A quarter turn within 1 ps from 15 ps on.
    angle = np.radians(np.interp(np.arange(300), [150, 160], [0, 90]))[:, None]
    turn = Rotation.from_rotvec(angle * axis / np.linalg.norm(axis))
    for row in rows:
        ligand, shift = int(history.bond_ligand[row]), history.bond_image[row] @ crystal.cell
        vectors = positions[:, ligand] + shift - crystal.positions[center]
        positions[:, ligand] = crystal.positions[center] + turn.apply(vectors) - shift
    result = rotations(Trajectory(crystal.species, positions, crystal.cell, 0.1))
    assert set(result.events.host.tolist()) == {center}
    assert result.events_by_kind["tumbling"] == len(result.events) == 4
    assert result.motions_by_kind["tumbling"] == 1
    assert result.events.time == pytest.approx(15.5, abs=0.6)
    ends = [Frame(crystal.species, positions[t], crystal.cell) for t in (0, -1)]
    assert tetrahedra(ends[0]).labels[0] == result.events.host_type[0] == "AlCl4"


def test_ions_that_hop_when_their_neighbors_turn_are_found_out():
    """The whole way: turning Cl in a run, ions that hop beside them, and ions that hop at any time."""

    class Hops:
        def __init__(self, ion, time, position):
            self.events = type("Events", (), {"ion": ion, "time": time, "position": position})

    directions, _ = jumping(4000, 60, rate=3e-4, seed=7)
    result = rotations(rotors(directions, 0.1))
    rng = np.random.default_rng(0)
    rows = rng.choice(len(result.events), 20, replace=False)
    near = result.events.position[rows] + rng.normal(0, 1.0, (20, 3))
    driven = Hops(np.arange(20), result.events.time[rows] + rng.normal(0, 0.3, 20), near)
    free = Hops(np.arange(20), rng.uniform(0, 400, 20), near)
    assert rotation_hop_coupling(result, driven).p_value < 0.01
    assert rotation_hop_coupling(result, driven).enrichment_interval[0] > 3
    assert rotation_hop_coupling(result, free).p_value > 0.05
