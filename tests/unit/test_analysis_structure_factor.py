"""S(Q), G(r), weights and mixtures: brute force, exact limits, conventions, edge cases."""

import numpy as np
import pytest
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.integrate import quad

from laoc_flows.analysis import Frame, Trajectory
from laoc_flows.analysis.scattering.phase_mixture import PhaseMixture, phase_weighted
from laoc_flows.analysis.scattering.reciprocal import reciprocal_vectors, waves
from laoc_flows.analysis.scattering.structure_factor import (
    StructureFactorResult,
    lorch,
    reduced_g_of,
    structure_factor,
)
from laoc_flows.analysis.scattering.weights import amplitudes, neutron_length, xray_form_factor
from laoc_flows.errors import InputError, TrajectoryError

CELL = np.array([[9.0, 0, 0], [2, 8, 0], [1, -2, 10]])
SPECIES = ("Li",) * 4 + ("Al",) * 3 + ("Cl",) * 8


def gas(n_frames=3, seed=0, species=SPECIES, cell=CELL):
    rng = np.random.default_rng(seed)
    return Trajectory(species, rng.random((n_frames, len(species), 3)) @ cell, cell, 1.0)


def hard_spheres(n_frames, length=24.0, diameter=2.6, n_atoms=450, seed=0):
    """Spheres dropped at random where they do not overlap, two thirds of them Cl, one third Al."""
    rng = np.random.default_rng(seed)
    frames = np.empty((n_frames, n_atoms, 3))
    for frame in frames:
        n = 0
        while n < n_atoms:
            point = rng.random(3) * length
            away = frame[:n] - point
            away -= length * np.rint(away / length)
            if n == 0 or (away**2).sum(axis=1).min() > diameter**2:
                frame[n] = point
                n += 1
    species = ("Cl", "Al", "Cl") * (n_atoms // 3)
    return Trajectory(species, frames, length * np.eye(3), 1.0)


@pytest.fixture(scope="module")
def spheres():
    return hard_spheres(4)


def brute_force(run, q_max, width):
    """Mean over frames and vectors of every shell of the products of waves, with every vector tried."""
    inverse = 2 * np.pi * np.linalg.inv(run.cells[0])
    hkl = np.array(list(np.ndindex(25, 25, 25))) - 12
    q = np.linalg.norm(hkl @ inverse.T, axis=1)
    keep = (q > 1e-9) & (q <= q_max)
    hkl, q = hkl[keep], q[keep]
    shell = np.floor(q / width + 1e-9).astype(int)
    phases = np.exp(1j * np.einsum("ga,tna->tgn", hkl @ inverse.T, run.positions))
    rho = {s: phases[..., run.indices(s)].sum(axis=-1) for s in set(run.species)}
    return shell, q, rho


def test_direct_sums_are_those_of_every_vector_and_atom():
    run = gas()
    result = structure_factor(run, q_max=3.0, q_width=0.2, max_vectors=None, method="direct")
    shell, q, rho = brute_force(run, 3.0, 0.2)
    kinds = np.unique(shell)
    assert result.q == pytest.approx([q[shell == k].mean() for k in kinds])
    assert (2 * result.n_vectors).tolist() == [(shell == k).sum() for k in kinds]
    assert np.array_equal(result.n_vectors, result.n_available)
    share = {s: SPECIES.count(s) / 15 for s in set(SPECIES)}
    for a, b in (("Al", "Al"), ("Al", "Cl"), ("Cl", "Li")):
        product = (rho[a] * rho[b].conj()).real.mean(axis=0) / 15
        mean = np.array([product[shell == k].mean() for k in kinds])
        expected = 1 + (mean - share[a] * (a == b)) / (share[a] * share[b])
        assert result.partials[f"{a}-{b}"] == pytest.approx(expected, abs=1e-9)
    amplitude = {"Li": -1.9, "Al": 3.449, "Cl": 9.577}
    wave = sum(amplitude[s] * rho[s] for s in share)
    intensity = (np.abs(wave) ** 2).mean(axis=0) / 15
    mean = np.array([intensity[shell == k].mean() for k in kinds])
    assert result.intensity == pytest.approx(mean, rel=1e-9)
    average = sum(share[s] * amplitude[s] for s in share)
    square = sum(share[s] * amplitude[s] ** 2 for s in share)
    assert result.total == pytest.approx(1 + (mean - square) / average**2)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_all_reciprocal_vectors_are_found_once(seed):
    rng = np.random.default_rng(seed)
    cell = np.diag(rng.uniform(3, 7, 3)) + rng.uniform(-3, 3, (3, 3)) * (rng.random((3, 3)) < 0.5)
    if abs(np.linalg.det(cell)) < 20:
        return
    vectors = reciprocal_vectors(cell, 2.5, 0.3)
    inverse = 2 * np.pi * np.linalg.inv(cell)
    hkl = np.array(list(np.ndindex(21, 21, 21))) - 10
    q = np.linalg.norm(hkl @ inverse.T, axis=1)
    expected = {tuple(v) for v in hkl[(q > 1e-9) & (q < 2.5 - 1e-9)].tolist()}
    inside = vectors.hkl[vectors.q < 2.5 - 1e-9].tolist()
    found = [tuple(v) for v in inside] + [tuple(-k for k in v) for v in inside]
    assert len(found) == len(set(found))
    assert set(found) == expected
    assert vectors.q == pytest.approx(np.linalg.norm(vectors.hkl @ inverse.T, axis=1))
    assert np.bincount(vectors.shell, minlength=len(vectors.available)).tolist() == vectors.available.tolist()


def test_vectors_are_thinned_without_a_preferred_direction():
    cell = np.array([[30.0, 0, 0], [5, 28, 0], [0, -6, 35]])
    every = reciprocal_vectors(cell, 6.0, 0.1)
    few = reciprocal_vectors(cell, 6.0, 0.1, max_vectors=60, seed=1)
    assert np.array_equal(few.available, every.available)
    counts = np.bincount(few.shell, minlength=len(few.available))
    assert np.array_equal(counts, np.minimum(every.available, 60))
    assert len({tuple(v) for v in few.hkl.tolist()}) == len(few.hkl)
    again = reciprocal_vectors(cell, 6.0, 0.1, max_vectors=60, seed=1)
    assert np.array_equal(again.hkl, few.hkl)
    other = reciprocal_vectors(cell, 6.0, 0.1, max_vectors=60, seed=2)
    assert not np.array_equal(other.hkl, few.hkl)
    directions = few.hkl @ np.linalg.inv(cell).T * 2 * np.pi / few.q[:, None]
    tensor = directions.T @ directions / len(directions)
    assert tensor == pytest.approx(np.eye(3) / 3, abs=0.03)


def test_waves_of_large_indices_keep_their_digits():
    rng = np.random.default_rng(0)
    fractional = rng.normal(0, 3, (300, 3))
    hkl = np.concatenate([rng.integers(-150, 151, (50, 3)), [[0, 0, 0], [-150, 150, 0]]])
    real, imaginary = waves(fractional, np.array([0, 120, 120, 300]), hkl)
    phases = np.exp(2j * np.pi * (hkl @ fractional.T))
    expected = np.column_stack([phases[:, :120].sum(axis=1), np.zeros(52), phases[:, 120:].sum(axis=1)])
    assert np.abs(real + 1j * imaginary - expected).max() < 1e-9


@pytest.mark.parametrize("method", ["direct", "transform"])
@pytest.mark.parametrize("n_atoms", [2, 60])
def test_an_ideal_gas_has_no_structure(method, n_atoms):
    run = gas(1500 if n_atoms == 2 else 150, species=("Cl",) * (n_atoms // 2) + ("Li",) * (n_atoms // 2))
    result = structure_factor(run, 6.0, method, None, q_width=0.5, r_max=7.0, max_frames=None)
    assert result.method == method
    assert np.abs((result.total - 1) / result.total_error).max() < 4.5
    assert np.abs(result.total - 1).max() < 0.2
    # A single atom of an element has no partner, and its S_aa is 1.
    if n_atoms == 2:
        assert result.partials["Cl-Cl"] == pytest.approx(1.0)
    assert np.abs(result.partials["Cl-Li"] - 1).max() < 0.4
    assert np.abs(result.reduced_g[result.r > 2]).max() < 0.6


def test_the_error_of_a_direct_sum_is_the_scatter_of_repeated_runs():
    results = [structure_factor(gas(2, seed), 4.0, q_width=0.5, r_max=2.0) for seed in range(60)]
    scatter = np.std([result.total for result in results], axis=0)
    claimed = np.sqrt(np.mean(np.square([result.total_error for result in results]), axis=0))
    assert claimed == pytest.approx(scatter, rel=0.4)


def test_the_error_of_a_transform_is_the_scatter_of_repeated_runs():
    found = [
        structure_factor(gas(20, seed), 4.0, "transform", q_width=0.5, r_max=4.0, bin_width=0.2)
        for seed in range(60)
    ]
    scatter = np.std([result.total for result in found], axis=0)
    claimed = np.sqrt(np.mean(np.square([result.total_error for result in found]), axis=0))
    assert claimed == pytest.approx(scatter, rel=0.4)


@pytest.mark.parametrize("weights", ["neutron", "xray", None, {"Al": 2.0, "Cl": -5.0, "O": 9.0}])
def test_totals_are_weighted_partials(weights, spheres):
    for method in ("direct", "transform"):
        result = structure_factor(spheres, 8.0, method, weights, q_width=0.1, max_vectors=20, r_max=8.0)
        values = amplitudes(["Al", "Cl"], weights).at(result.q)
        c = {"Al": 1 / 3, "Cl": 2 / 3}
        mean = sum(c[s] * values[s] for s in c)
        assert result.mean_amplitude == pytest.approx(mean)
        expected = (
            1
            + sum(
                (1 + (a != b)) * c[a] * c[b] * values[a] * values[b] * (result.partials[f"{a}-{b}"] - 1)
                for a, b in (("Al", "Al"), ("Al", "Cl"), ("Cl", "Cl"))
            )
            / mean**2
        )
        # Within a shell X-ray form factors change a little.
        assert result.total == pytest.approx(expected, abs=5e-3 if weights == "xray" else 1e-9)
        assert set(result.forward) == {"Al", "Cl"}
        assert result.total[result.q > 6].mean() == pytest.approx(1.0, abs=0.15)


def test_both_ways_agree_on_a_liquid(spheres):
    direct = structure_factor(spheres, 10.0, "direct", None, max_vectors=None)
    transform = structure_factor(spheres, 10.0, "transform", None, r_max=12.0)
    assert (direct.method, transform.method) == ("direct", "transform")
    for name in ("total", "Al-Cl"):
        first = direct.total if name == "total" else direct.partials[name]
        second = transform.total if name == "total" else transform.partials[name]
        difference = first - np.interp(direct.q, transform.q, second)
        # Averaged over 0.4 A^-1, the resolution of g(r) up to 12 A.
        windows = [np.abs(direct.q - q) < 0.2 for q in np.arange(0.8, 9.6, 0.4)]
        largest = max(abs(difference[window].mean()) for window in windows)
        assert largest < (0.06 if name == "total" else 0.12)
    assert np.ptp(direct.total) > 0.5


@pytest.mark.parametrize("method", ["direct", "transform"])
def test_nothing_is_closer_than_the_diameter(method, spheres):
    # G(r) below the first distance is -4 pi rho r: the sum rule int Q^2 (S - 1) dQ = -2 pi^2 rho.
    result = structure_factor(spheres, 15.0, method, None, r_max=12.0)
    inside = (result.r > 0.3) & (result.r < 1.6)
    line = -4 * np.pi * result.density * result.r
    assert result.reduced_g[inside] == pytest.approx(line[inside])
    assert result.reduced_g_window[inside] == pytest.approx(
        line[inside], abs=0.25 * np.abs(line[inside]).max()
    )
    slope = np.polyfit(result.r[inside], result.reduced_g_window[inside], 1)[0]
    assert slope == pytest.approx(-4 * np.pi * result.density, rel=0.2)


def test_the_transform_is_exact_for_a_stepwise_g():
    run = gas(4, species=("Cl",) * 15)
    result = structure_factor(run, 12.0, "transform", r_max=10.0, bin_width=0.5)
    level = result.reduced_g / (4 * np.pi * result.density * result.r)
    for k in (0, 40, 150):
        q = result.q[k]
        parts = [
            height * np.sinc(r / 10.0) * quad(lambda x, q=q: x * np.sin(q * x) / q, r - 0.25, r + 0.25)[0]
            for r, height in zip(result.r, level, strict=True)
        ]
        # Around each of the 15 atoms there are 14 others.
        expected = 1 + 14 / 15 * 4 * np.pi * result.density * sum(parts)
        assert result.total[k] == pytest.approx(expected, abs=1e-9)


def test_reduced_g_of_one_shell_peaks_there():
    q = np.arange(0.02, 20.001, 0.02)
    total = 1 + 12 * np.sin(2.5 * q) / (2.5 * q)
    r = np.arange(0.05, 8, 0.05)
    g = reduced_g_of(q, total, r, 20.0)
    assert r[g.argmax()] == pytest.approx(2.5, abs=0.03)
    # A shell of n neighbors at R: int r G dr = n.
    near = np.abs(r - 2.5) < 1.0
    assert (r * g)[near].sum() * 0.05 == pytest.approx(12, rel=0.02)
    at = 37
    exact = quad(
        lambda x: 2 / np.pi * 12 * np.sin(2.5 * x) / 2.5 * np.sin(r[at] * x) * np.sinc(x / 20), 0, 20
    )[0]
    assert g[at] == pytest.approx(exact, abs=2e-3)
    assert lorch(np.array([0.0, 10.0, 20.0]), 20.0) == pytest.approx([1, 2 / np.pi, 0])


def test_form_factors_fall_from_the_number_of_electrons():
    for symbol, electrons in (("Li", 3), ("O", 8), ("Al", 13), ("Cl", 17), ("Ta", 73), ("H", 1)):
        f = xray_form_factor(symbol, np.linspace(0, 15, 200))
        assert f[0] == electrons
        assert (np.diff(f) <= 0.02).all()
        assert f.min() >= 0
    from ase.utils.xrdebye import waasmaier

    q = np.linspace(0, 8, 50)
    for symbol in ("O", "P", "S", "Cl"):
        *terms, constant = waasmaier[symbol]
        pairs = np.reshape(terms, (5, 2))
        expected = constant + sum(a * np.exp(-b * (q / (4 * np.pi)) ** 2) for a, b in pairs)
        assert xray_form_factor(symbol, q) == pytest.approx(expected, rel=0.05)


def test_unknown_amplitudes_are_refused():
    with pytest.raises(InputError, match="'Xx'"):
        neutron_length("Xx")
    with pytest.raises(InputError, match="'Xx'"):
        xray_form_factor("Xx", 1.0)
    for q in (-0.1, 15.1, np.nan):
        with pytest.raises(InputError, match="15"):
            xray_form_factor("O", [q])
    with pytest.raises(InputError, match="Cl"):
        amplitudes(["Li", "Cl"], {"Li": 1.0, "Cl": np.nan})
    with pytest.raises(InputError, match="neither"):
        amplitudes(["Li"], "electron")
    assert neutron_length("7Li") == pytest.approx(-2.22)
    with pytest.raises(InputError, match="15"):
        structure_factor(gas(1), 16.0, weights="xray")


def test_amplitudes_that_cancel_are_refused():
    run = gas(2, species=("Li", "Cl"))
    with pytest.raises(InputError, match="cancel"):
        structure_factor(run, weights={"Li": -1.0, "Cl": 1.0})
    assert structure_factor(run, weights=None).total.size


def test_varying_cells_are_transformed():
    cells = CELL * np.linspace(1, 1.02, 5)[:, None, None]
    run = Trajectory(SPECIES, np.random.default_rng(0).random((5, 15, 3)) @ cells, cells, 1.0)
    assert structure_factor(run).method == "transform"
    with pytest.raises(TrajectoryError, match="cell varies"):
        structure_factor(run, method="direct")
    assert structure_factor(gas(1)).method == "direct"


def test_one_frame_and_one_atom():
    one = structure_factor(gas(1), method="transform")
    assert one.total_error.size == 0
    assert np.isfinite(one.total).all()
    atom = Frame(("Li",), [[1.0, 2, 3]], 5 * np.eye(3))
    for method in ("direct", "transform"):
        result = structure_factor(atom, 5.0, method)
        # Every reciprocal vector of a lattice of one atom is a Bragg peak with S = 1: N waves in phase over N.
        assert result.total == pytest.approx(1.0)
        assert result.n_frames == 1
    back = StructureFactorResult.model_validate_json(one.model_dump_json())
    assert np.array_equal(back.partials["Al-Cl"], one.partials["Al-Cl"])
    assert back.intensity == pytest.approx(one.intensity)


@pytest.mark.parametrize(
    "parameters",
    [
        {"q_max": 0.0},
        {"q_width": 0.0},
        {"q_width": 20.0},
        {"method": "fft"},
        {"bin_width": -1.0},
        {"r_max": 0.0},
        {"q_max": 0.2},
        {"q_max": 0.2, "method": "transform"},
        {"max_frames": 0},
    ],
)
def test_parameters_out_of_range(parameters):
    with pytest.raises(InputError):
        structure_factor(gas(2), **parameters)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_translation_order_cell_and_direction_of_time_change_nothing(seed):
    rng = np.random.default_rng(seed)
    run = gas(2, seed)
    base = structure_factor(run, 3.0, q_width=0.31)
    order = rng.permutation(15)
    shift = rng.normal(0, 20, 3)
    moved = Trajectory(tuple(np.array(SPECIES)[order]), run.positions[::-1, order] + shift, CELL, 1.0)
    sheared = Trajectory(SPECIES, run.positions, np.array([[1, 0, 0], [1, 1, 0], [-1, 2, 1]]) @ CELL, 1.0)
    for other in (moved, sheared):
        result = structure_factor(other, 3.0, q_width=0.31)
        assert result.total == pytest.approx(base.total, abs=1e-9)
        assert result.partials["Cl-Li"] == pytest.approx(base.partials["Cl-Li"], abs=1e-9)


def test_few_frames_are_spread_over_the_run():
    run = gas(40)
    result = structure_factor(run, 4.0, max_frames=3)
    three = Trajectory(SPECIES, run.positions[[0, 20, 39]], CELL, 1.0)
    assert result.n_frames == 3
    assert result.total == pytest.approx(structure_factor(three, 4.0).total)


@pytest.mark.parametrize("method", ["direct", "transform"])
def test_a_run_in_a_file_gives_the_same(method, tmp_path):
    run = gas(9)
    with Trajectory.open(run.write(tmp_path / "run.h5md", "float64")) as stored:
        one, other = (structure_factor(source, 4.0, method) for source in (run, stored))
    assert one.model_dump_json() == other.model_dump_json()


def phase(structure, weights="neutron", q_max=8.0):
    return structure_factor(structure, q_max, "transform", weights, r_max=10.0)


@pytest.fixture(scope="module")
def crystals():
    return bulk("LiCl", "rocksalt", a=5.13, cubic=True), bulk("Al", "fcc", a=4.05, cubic=True)


def test_a_mixture_adds_intensities_per_atom(crystals):
    salt, metal = (phase(structure) for structure in crystals)
    mixture = phase_weighted([(salt, 3.0), (metal, 1.0)])
    assert mixture.atom_fractions == (0.75, 0.25)
    b = 0.75 * salt.mean_amplitude + 0.25 * metal.mean_amplitude
    square = 0.75 * salt.mean_square + 0.25 * metal.mean_square
    intensity = 0.75 * salt.intensity + 0.25 * metal.intensity
    assert mixture.total == pytest.approx(1 + (intensity - square) / b**2)
    # Both G(r) follow: that of S(Q) exactly, that of g(r) within each phase.
    assert mixture.reduced_g_window == pytest.approx(
        reduced_g_of(mixture.q, mixture.total, mixture.r, 8.0), abs=1e-12
    )
    weights = [0.75 * 3.8385**2, 0.25 * 3.449**2]
    mean = 0.75 * 3.8385 + 0.25 * 3.449
    expected = (weights[0] * salt.reduced_g + weights[1] * metal.reduced_g) / mean**2
    assert mixture.reduced_g == pytest.approx(expected, abs=1e-9)
    back = PhaseMixture.model_validate_json(mixture.model_dump_json())
    assert np.array_equal(back.total, mixture.total)


@pytest.mark.parametrize("weights", ["neutron", "xray", None])
def test_a_mixture_of_one_phase_is_that_phase(weights, crystals, spheres):
    for structure in (crystals[0], spheres):
        alone = phase(structure, weights)
        for phases in ([(alone, 0.3)], [(alone, 1.0), (alone, 2.0)]):
            mixture = phase_weighted(phases)
            assert mixture.total == pytest.approx(alone.total)
            assert mixture.reduced_g == pytest.approx(alone.reduced_g, abs=1e-9)
            assert mixture.reduced_g_window == pytest.approx(alone.reduced_g_window, abs=1e-9)
            assert mixture.total_error.size == alone.total_error.size


def test_shares_by_weight_and_by_formula(crystals):
    salt, metal = (phase(structure) for structure in crystals)
    by_weight = phase_weighted([(salt, 42.39), (metal, 26.98)], by="weight")
    assert by_weight.atom_fractions == pytest.approx((2 / 3, 1 / 3), rel=1e-3)
    # One LiCl to one Al.
    by_formula = phase_weighted([(salt, 1.0), (metal, 1.0)], by="formula")
    assert by_formula.atom_fractions == pytest.approx((2 / 3, 1 / 3))


def test_phases_that_do_not_fit(crystals):
    salt, metal = crystals
    with pytest.raises(InputError, match="other Q or r"):
        phase_weighted([(phase(salt), 1.0), (phase(metal, q_max=7.0), 1.0)])
    with pytest.raises(InputError, match="other weights"):
        phase_weighted([(phase(salt), 1.0), (phase(metal, "xray"), 1.0)])
    with pytest.raises(InputError, match="other weights"):
        phase_weighted(
            [(phase(salt, {"Li": 1.0, "Cl": 2.0}), 1.0), (phase(salt, {"Li": 1.0, "Cl": 3.0}), 1.0)]
        )
    for shares in ([], [(phase(salt), -1.0), (phase(metal), 2.0)], [(phase(salt), 0.0)]):
        with pytest.raises(InputError, match="mixture"):
            phase_weighted(shares)
    with pytest.raises(InputError, match="neither"):
        phase_weighted([(phase(salt), 1.0)], by="volume")
    with pytest.raises(InputError, match="cancel"):
        phase_weighted([(phase(salt, {"Li": 1.0, "Cl": 1.0}), 1.0), (phase(metal, {"Al": -1.0}), 1.0)])
