"""g(r), S(Q) and T_g against other codes and known crystals, on the same input."""

import freud
import MDAnalysis
import numpy as np
import pytest
from ase.build import bulk
from MDAnalysis.analysis.rdf import InterRDF
from pymatgen.analysis.diffraction.neutron import NDCalculator
from pymatgen.analysis.diffraction.xrd import XRDCalculator
from pymatgen.core import Lattice, Structure

from laoc_flows.analysis import Trajectory, coordination_number, rdf
from laoc_flows.analysis.scattering.phase_mixture import phase_weighted
from laoc_flows.analysis.scattering.structure_factor import structure_factor
from laoc_flows.analysis.structure.rdf import rdfs

LENGTH = 22.0
SPECIES = ("Li",) * 70 + ("Al",) * 50 + ("Cl",) * 180


@pytest.fixture(scope="module")
def run():
    """A liquid of soft spheres, pushed apart from random positions."""
    rng = np.random.default_rng(0)
    frames = []
    for _ in range(6):
        positions = rng.random((300, 3)) * LENGTH
        for _ in range(60):
            away = positions[:, None] - positions
            away -= LENGTH * np.rint(away / LENGTH)
            distance = np.sqrt((away**2).sum(axis=-1)) + 10 * np.eye(300)
            push = np.where(distance < 2.83, (2.83 - distance) / distance, 0.0)
            positions = positions + 0.3 * (push[..., None] * away).sum(axis=1)
        frames.append(positions)
    return Trajectory(SPECIES, np.array(frames), LENGTH * np.eye(3), 1.0)


LIALCL4 = Structure.from_spacegroup(
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
SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.13), ["Li", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
QUARTZ = Structure.from_spacegroup(
    "P3_221", Lattice.hexagonal(4.9134, 5.4052), ["Si", "O"], [[0.4697, 0, 2 / 3], [0.4133, 0.2672, 0.7855]]
)


def centered(positions):
    return (positions - LENGTH * np.floor(positions / LENGTH) - LENGTH / 2).astype(np.float32)


@pytest.mark.parametrize(("a", "b"), [("Al", "Cl"), ("Cl", "Cl"), ("Li", "Al")])
def test_g_is_that_of_freud(run, a, b):
    box = freud.box.Box.cube(LENGTH)
    peer = freud.density.RDF(bins=100, r_max=10.0, normalization_mode="finite_size" if a == b else "exact")
    for frame in run.positions:
        points = centered(frame)
        peer.compute((box, points[run.indices(a)]), query_points=points[run.indices(b)], reset=False)
    ours = rdf(run, a, b, r_max=10.0, bin_width=0.1)
    assert np.abs(np.array(ours.r) - peer.bin_centers).max() < 1e-5
    # Single precision moves a distance over an edge now and then.
    assert np.abs(np.array(ours.g) - peer.rdf)[10:].max() < 0.02
    assert np.abs(np.array(ours.g) - peer.rdf)[10:].mean() < 5e-4


@pytest.mark.parametrize(("a", "b"), [("Al", "Cl"), ("Cl", "Cl")])
def test_g_is_that_of_mdanalysis(run, a, b):
    universe = MDAnalysis.Universe.empty(300, trajectory=True)
    universe.add_TopologyAttr("names", list(SPECIES))
    universe.load_new(run.positions.astype(np.float32), order="fac", dimensions=[LENGTH] * 3 + [90] * 3)
    first, second = (universe.select_atoms(f"name {symbol}") for symbol in (a, b))
    exclude = (1, 1) if a == b else None
    peer = InterRDF(first, second, nbins=100, range=(0.0, 10.0), exclusion_block=exclude).run().results
    ours = rdf(run, a, b, r_max=10.0, bin_width=0.1)
    # With an exclusion block the peer takes the excluded pairs off its normalization too.
    assert np.abs(np.array(ours.g) - peer.rdf)[10:].max() < 0.02
    counted = np.concatenate([[0.0], np.cumsum(peer.count)]) / (6 * len(first))
    assert np.abs(np.array(ours.coordination) - counted).max() < 0.01


def test_direct_sums_are_those_of_freud():
    # The peer visits h, k, l >= 0 alone, one octant of the vectors: in a cell with three mirrors it has seen all.
    rng = np.random.default_rng(4)
    mirrors = np.array(list(np.ndindex(2, 2, 2))) * 2 - 1
    species = np.repeat(["Al", "Cl"], [8 * 10, 8 * 25])
    frames = [(rng.random((35, 1, 3)) * LENGTH * mirrors).reshape(-1, 3) for _ in range(4)]
    run = Trajectory(tuple(species), np.array(frames), LENGTH * np.eye(3), 1.0)
    box = freud.box.Box.cube(LENGTH)
    peer, partial = (
        freud.diffraction.StaticStructureFactorDirect(bins=250, k_max=2.5, k_min=0.0) for _ in range(2)
    )
    for frame in run.positions:
        points = centered(frame)
        peer.compute((box, points), reset=False)
        partial.compute((box, points[:80]), query_points=points[80:], N_total=280, reset=False)
    ours = structure_factor(run, 2.5, "direct", None, q_width=0.01, max_vectors=None)
    # All of them count alike where the vectors of a shell have equally many zeros.
    hkl = np.array([v for v in np.ndindex(9, 9, 9) if any(v)])
    shell = np.floor(np.linalg.norm(hkl, axis=1) * 2 * np.pi / LENGTH / 0.01 + 1e-9)
    at = np.floor(ours.q / 0.01).astype(int)
    alike = np.array([np.unique((hkl[shell == k] == 0).sum(axis=1)).size == 1 for k in at])
    assert alike.sum() > 20
    waves = 80 / 280 * 200 / 280 * (ours.partials["Al-Cl"] - 1)
    assert ours.total[alike] == pytest.approx(peer.S_k[at[alike]], rel=2e-3, abs=2e-3)
    assert waves[alike] == pytest.approx(partial.S_k[at[alike]], rel=2e-3, abs=2e-3)
    assert np.ptp(ours.total[alike]) > 1


def test_the_transform_follows_the_debye_sum_of_freud(run):
    # The sum over pairs up to half the cell is the transform of the same g(r) without the mean density.
    box = freud.box.Box.cube(LENGTH)
    points = centered(run.positions[0])
    peer = freud.diffraction.StaticStructureFactorDebye(num_k_values=40, k_max=12.0, k_min=4.0)
    peer.compute((box, points))
    one = Trajectory(SPECIES, run.positions[:1], run.cells[:1], 1.0)
    ours = structure_factor(one, 12.5, "transform", None, r_max=LENGTH / 2, bin_width=0.01)
    theirs = np.convolve(peer.S_k, np.full(3, 1 / 3), mode="valid")
    values = np.interp(peer.k_values, ours.q, ours.total)
    mean = np.convolve(values, np.full(3, 1 / 3), mode="valid")
    assert np.abs(mean - theirs).mean() < 0.05
    assert np.corrcoef(mean, theirs)[0, 1] > 0.95


@pytest.mark.parametrize("radiation", ["neutron", "xray"])
@pytest.mark.parametrize("crystal", [SALT, QUARTZ, LIALCL4], ids=["LiCl", "SiO2", "LiAlCl4"])
def test_bragg_lines_are_those_of_pymatgen(crystal, radiation):
    wavelength = 1.2
    calculator = (NDCalculator if radiation == "neutron" else XRDCalculator)(wavelength=wavelength)
    pattern = calculator.get_pattern(crystal, scaled=False, two_theta_range=(0, 70))
    theta = np.radians(pattern.x) / 2
    q = 4 * np.pi * np.sin(theta) / wavelength
    lorentz = 1 / (np.sin(theta) ** 2 * np.cos(theta))
    if radiation == "xray":
        lorentz *= 1 + np.cos(2 * theta) ** 2
    squares = pattern.y / lorentz
    q_max = 4 * np.pi * np.sin(np.radians(35)) / wavelength
    ours = structure_factor(
        crystal, q_max, "direct", radiation, q_width=1e-5, max_vectors=None, bin_width=0.1, r_max=5.0
    )
    found = ours.intensity * len(crystal) * 2 * ours.n_available
    # Lines of nearly one length are one line; the calculator leaves out the weakest ones.
    groups = np.concatenate([[0], np.cumsum(np.diff(q) > 1e-4)])
    expected = np.bincount(groups, squares)
    nearest = np.abs(q[:, None] - ours.q).argmin(axis=0)
    close = np.abs(q[nearest] - ours.q) < 1e-4
    assert found[~close].sum() < 1e-4 * found.sum()
    assigned = np.bincount(groups[nearest[close]], found[close], minlength=expected.size)
    assert assigned == pytest.approx(expected, rel=1e-6, abs=1e-4 * squares.max())
    assert assigned[expected > 0.01 * expected.max()] == pytest.approx(
        expected[expected > 0.01 * expected.max()], rel=1e-4
    )


def test_bragg_lines_of_rock_salt_by_hand():
    result = structure_factor(bulk("LiCl", "rocksalt", a=5.13, cubic=True), 4.0, q_width=0.01)
    lines = dict(
        zip(np.round(result.q * 5.13 / (2 * np.pi), 3).tolist(), result.intensity.tolist(), strict=True)
    )
    # Only all odd or all even; |F|^2 = 16 (b_Li -+ b_Cl)^2 per cell of 8 atoms.
    for length, amplitude in ((3, -1.9 - 9.577), (4, -1.9 + 9.577), (8, -1.9 + 9.577)):
        assert lines[round(length**0.5, 3)] == pytest.approx(2 * amplitude**2)
    for length in (1, 2, 5, 6):
        assert lines[round(length**0.5, 3)] == pytest.approx(0, abs=1e-9)


def test_a_supercell_has_the_lines_of_its_cell():
    unit = structure_factor(LIALCL4, 3.0, q_width=1e-3, max_vectors=None)
    double = structure_factor(LIALCL4 * (2, 2, 1), 3.0, q_width=1e-3, max_vectors=None)
    lines = {round(q, 6): (s, n) for q, s, n in zip(unit.q, unit.intensity, unit.n_available, strict=True)}
    for q, s, n in zip(double.q, double.intensity, double.n_available, strict=True):
        # A line of the cell keeps its vectors and gets four times the intensity per atom.
        if round(q, 6) in lines:
            expected, count = lines[round(q, 6)]
            assert s * n == pytest.approx(4 * expected * count, rel=1e-6, abs=1e-6)


def test_the_crystal_has_its_distances_in_g_of_r():
    result = structure_factor(SALT * (2, 2, 2), 15.0, "transform", "xray", r_max=15.0)
    window = (result.r > 2.0) & (result.r < 3.1)
    assert result.r[window][result.reduced_g_window[window].argmax()] == pytest.approx(5.13 / 2, abs=0.05)


def test_lithium_chloride_in_a_glass_shows_its_lines(run):
    glass, salt = (
        structure_factor(structure, 8.0, "transform", r_max=11.0) for structure in (run, SALT * (3, 3, 3))
    )
    mixture = phase_weighted([(glass, 0.89), (salt, 0.11)], by="weight")
    # (111) of LiCl, strong for neutrons because Li and Cl scatter with opposite signs.
    line = 2 * np.pi * 3**0.5 / 5.13
    at = np.abs(mixture.q - line) < 0.3
    excess = (mixture.total - glass.total)[at]
    assert mixture.q[at][excess.argmax()] == pytest.approx(line, abs=0.06)
    assert excess.max() > 0.2
    assert sum(mixture.atom_fractions) == pytest.approx(1)


def test_shells_of_the_crystal():
    assert coordination_number(LIALCL4, 2.8, "Al", "Cl") == 4
    assert coordination_number(LIALCL4 * (2, 1, 1), 3.2, "Li", "Cl") == 6
    partials = rdfs(LIALCL4 * (2, 2, 1), r_max=5.0)
    assert coordination_number(partials.of("Al", "Cl"), 2.8) == pytest.approx(4)
    assert coordination_number(partials.of("Al", "Al"), 4.6) == 0
    assert coordination_number(partials.of("Al", "Al"), 4.65) > 0
