"""When a run has melted its cell: far-moving atoms on lattice sites are no melt, and noise is no crystal."""

import numpy as np
import pytest

from laoc_flows.analysis import Trajectory, amorphisation, melt_check

VIBRATION = 0.25  # A along each axis
SALT = 5.6  # A, edge of a rocksalt cell


def frames_of(atoms, displacements, time_step=0.1):
    """Trajectory of displacements from a structure, known to be continuous."""
    return Trajectory(
        atoms.get_chemical_symbols(),
        atoms.positions + displacements,
        atoms.cell.array,
        time_step=time_step,
        continuous=True,
    )


def vibrations(n_frames, n_atoms, rng, size=VIBRATION):
    return size * rng.normal(size=(n_frames, n_atoms, 3))


def rocksalt(n):
    """Al and Cl in the rocksalt structure, n x n x n cubic cells: a lattice to hop on, no more."""
    from ase.build import bulk

    atoms = bulk("NaCl", "rocksalt", a=SALT, cubic=True) * (n, n, n)
    atoms.symbols = ["Al" if symbol == "Na" else "Cl" for symbol in atoms.get_chemical_symbols()]
    return atoms


def hopping(atoms, n_frames, rng, size=VIBRATION):
    """Atoms that vibrate about the sites of their lattice, and hop from one to the next."""
    rows = np.unique(np.round(atoms.positions[:, 1:], 6), axis=0, return_inverse=True)[1].ravel()
    # Every row along x shifts by lattice vectors, at times of its own: the same sites stay occupied.
    steps = rng.random((n_frames, rows.max() + 1)) < 0.3
    hops = np.cumsum(steps, axis=0)[:, rows, None] * np.array([SALT, 0, 0])
    signs = np.where(rows % 2 == 0, 1, -1)[:, None]
    return frames_of(atoms, hops * signs + vibrations(n_frames, len(atoms), rng, size))


def walk(atoms, n_frames, rng, stride):
    moves = stride * rng.normal(size=(n_frames, len(atoms), 3))
    moves[0] = 0
    return frames_of(atoms, np.cumsum(moves, axis=0))


def packing(symbols, edge, rng):
    from ase import Atoms

    return Atoms(symbols, rng.random((len(symbols), 3)) * edge, cell=[edge] * 3, pbc=True)


@pytest.mark.parametrize("n", [1, 2])
def test_a_crystal_whose_atoms_hop_between_its_sites_is_refused(n):
    run = hopping(rocksalt(n), 60, np.random.default_rng(1))
    verdict = melt_check(run)
    assert min(verdict.displacement.values()) > 100
    # Debye and Waller: the amplitude of every peak falls by exp(-q^2 u^2 / 2), in the first frame as in the last.
    assert verdict.bragg == pytest.approx(1, abs=0.08)
    assert not verdict.passed
    assert verdict.reason.startswith("not melted: the atoms moved in 5.9 ps (Al ")
    assert "% of the Bragg order of the start is left, more than 50 %" in verdict.reason
    assert melt_check(run, bragg_threshold=1.2).passed


def test_a_hopping_crystal_that_starts_at_rest_has_its_debye_waller_factor():
    atoms = rocksalt(3)
    rng = np.random.default_rng(2)
    run = hopping(atoms, 90, rng)
    moves = run.positions - atoms.positions
    moves[0] = 0
    verdict = melt_check(frames_of(atoms, moves))
    # With equal weights the atoms are simple cubic: up to 3 A^-1 only {200} is there, with amplitude one.
    q = 4 * np.pi / SALT
    assert q < 3 < np.sqrt(2) * q
    assert verdict.bragg == pytest.approx(np.exp(-((q * VIBRATION) ** 2) / 2), abs=0.01)
    assert not verdict.passed


def test_a_crystal_at_rest_is_refused_for_its_displacement(lialcl4):
    atoms = lialcl4 * (2, 2, 1)
    verdict = melt_check(frames_of(atoms, vibrations(30, len(atoms), np.random.default_rng(3))))
    assert not verdict.passed
    assert verdict.bragg == pytest.approx(1, abs=0.1)
    assert verdict.reason.startswith("not melted: Al and Cl moved by no more than 10 A^2")


@pytest.mark.parametrize("repeat", [(1, 1, 1), (2, 2, 1)])
def test_a_crystal_that_melts_passes(lialcl4, repeat):
    atoms = lialcl4 * repeat
    refused = [
        seed
        for seed in range(20)
        if not melt_check(walk(atoms, 60, np.random.default_rng(seed), stride=0.7)).passed
    ]
    assert not refused


def test_a_supercell_that_has_melted_has_lost_its_order(lialcl4):
    atoms = lialcl4 * (2, 2, 1)
    verdict = melt_check(walk(atoms, 90, np.random.default_rng(5), stride=0.7))
    assert verdict.passed
    assert verdict.bragg < 0.25
    assert "of the Bragg order left" in verdict.reason


@pytest.mark.parametrize("n_frames", [2, 3, 7, 40])
@pytest.mark.parametrize(
    ("symbols", "edge"),
    [
        (["Li"] * 4 + ["Al"] * 4 + ["O"] * 3 + ["Cl"] * 10, 7.8),
        (["Li"] * 4 + ["Al"] * 4 + ["Cl"] * 16, 9.0),
        (["Li"] * 6 + ["Al"] * 4 + ["Cl"] * 18, 9.5),
    ],
    ids=["21 atoms", "24 atoms", "28 atoms"],
)
def test_a_random_packing_that_has_melted_passes_however_small_and_short(symbols, edge, n_frames):
    wrong = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        # Between two frames the atoms move by so much that any two of them are independent.
        run = walk(packing(symbols, edge, rng), n_frames, rng, stride=6.0)
        wrong += [] if melt_check(run, threshold=5.0).passed else [seed]
    assert not wrong


def test_what_cannot_be_judged_is_none():
    # Simple cubic, but of three atoms: as many at random have a third of its intensity.
    three = packing(["Al", "Cl", "Cl"], 9.0, np.random.default_rng(0))
    three.positions = [[0, 0, 0], [3, 0, 0], [6, 0, 0]]
    verdict = melt_check(walk(three, 40, np.random.default_rng(1), stride=1.5))
    assert verdict.passed
    assert (verdict.bragg, verdict.bragg_error) == (None, None)
    assert "Bragg" not in verdict.reason


def test_neither_drift_nor_a_breathing_cell_passes_for_melting(lialcl4):
    atoms = lialcl4 * (2, 2, 1)
    rng = np.random.default_rng(6)
    n = 30
    fractional = (atoms.positions + vibrations(n, len(atoms), rng)) @ np.linalg.inv(atoms.cell.array)
    scales = 1 + 0.03 * np.sin(np.arange(n) / 3.0)
    cells = atoms.cell.array * scales[:, None, None]
    positions = fractional @ cells + np.linspace(0, 20, n)[:, None, None] * np.array([1.0, 0.3, 0.1])
    run = Trajectory(atoms.get_chemical_symbols(), positions, cells, 0.1, continuous=True)
    assert melt_check(run, drift="none", threshold=1.0).bragg == pytest.approx(1, abs=0.05)


def test_the_order_is_that_of_the_degree_of_amorphisation():
    atoms = rocksalt(3)
    rng = np.random.default_rng(7)
    half = rng.permutation(len(atoms))[::2]
    away = np.zeros((20, len(atoms), 3))
    away[1:, half] = rng.random((19, len(half), 3)) * 3 * SALT
    run = frames_of(atoms, away)
    verdict = melt_check(run)
    last = amorphisation(run.block(14, 20), atoms, center="Al", carrier="Li", n_vectors=3)
    # Half of the atoms are gone from their sites: half of the amplitude is left, by either function.
    assert verdict.bragg == pytest.approx(0.5, abs=0.05)
    assert verdict.bragg == pytest.approx(1 - last.theta_s_corrected, abs=0.02)
