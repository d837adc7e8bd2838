"""Degree of amorphisation: the crystal, random positions, mixtures, and what must not matter."""

import numpy as np
import pytest
from ase.build import bulk
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure

from laoc_flows.analysis import Frame, Trajectory, as_frame
from laoc_flows.analysis.disorder.amorphisation import AmorphisationResult, amorphisation
from laoc_flows.analysis.disorder.registration import Overlay, matched_crystal, mean_sites, rigid_shift
from laoc_flows.errors import InputError

UNIT = Structure.from_spacegroup(
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
CRYSTAL = as_frame(UNIT * (2, 2, 1))
LARGE = as_frame(UNIT * (4, 4, 2))


def vibrating(frame, n_frames=12, amplitude=0.12, seed=0, drift=0.0):
    rng = np.random.default_rng(seed)
    moves = rng.normal(0, amplitude, (n_frames, frame.n_atoms, 3))
    wind = np.cumsum(rng.normal(0, drift, (n_frames, 1, 3)), axis=0)
    return Trajectory(frame.species, frame.positions + moves + wind, frame.cell, 0.1)


def random(frame, n_frames=12, seed=0):
    rng = np.random.default_rng(seed)
    positions = rng.random((n_frames, frame.n_atoms, 3)) @ frame.cell
    return Trajectory(frame.species, positions, frame.cell, 0.1)


def mixed(frame, fraction, n_frames=6, seed=0):
    """A crystal of which a fraction of the atoms sits anywhere, for good, and vibrates there."""
    rng = np.random.default_rng(seed)
    which = rng.permutation(frame.n_atoms)[: round(fraction * frame.n_atoms)]
    positions = frame.positions.copy()
    positions[which] = rng.random((which.size, 3)) @ frame.cell
    return vibrating(Frame(frame.species, positions, frame.cell), n_frames, seed=seed), which


def test_the_crystal_against_itself_is_zero():
    run = vibrating(CRYSTAL)
    result = amorphisation(run, run)
    assert (result.status, result.n_frames, result.n_crystal_frames) == ("ok", 12, 12)
    assert result.theta_s.value == pytest.approx(0.0, abs=1e-12)
    assert result.theta_s_corrected == pytest.approx(0.0, abs=1e-12)
    assert result.crystal_site_fraction.value == 1.0
    assert result.displaced_fraction.value == 0.0
    assert len(result.vectors) == len(result.q) == 10
    assert (result.q < 3.0).all()
    assert np.array_equal(result.amplitude, result.crystal_amplitude)
    liquid = random(CRYSTAL, seed=3)
    assert amorphisation(run, run, liquid).theta_g == 0.0


def test_another_run_of_the_crystal_is_zero_within_its_error():
    result = amorphisation(vibrating(LARGE, 8, seed=1), vibrating(LARGE, 8, seed=2), random(LARGE, 4))
    assert abs(result.theta_s.value) < 4 * result.theta_s.standard_error + 1e-3
    assert abs(result.theta_s_corrected) < 0.01
    # What is left of Theta_g is noise, as foretold.
    assert result.theta_g == pytest.approx(result.theta_g_noise, rel=0.25)


def test_random_positions_are_one():
    crystal = vibrating(LARGE, 4)
    result = amorphisation(random(LARGE, 40, seed=5), crystal, random(LARGE, 40, seed=6))
    assert result.theta_s.value == pytest.approx(1 - result.floor, abs=0.01)
    assert result.theta_s_corrected > 0.9
    assert result.theta_g == pytest.approx(1.0, abs=0.02)
    # The floor, sqrt(pi / 4 N), is what 96 atoms would turn into a Theta_S of 0.8.
    assert result.floor == pytest.approx(np.sqrt(np.pi / 4 / 768) / result.crystal_amplitude.mean())
    # Atoms are near a site by chance, the framework somewhat more often: it was laid over the sites.
    chance = 4 * np.pi / 3 * LARGE.species.count("Li") / LARGE.volume
    assert result.crystal_site_fraction.value == pytest.approx(chance, rel=0.5)
    assert chance < 1 - result.displaced_fraction.value < 3 * chance


def test_the_floor_is_what_random_positions_have():
    small = amorphisation(random(CRYSTAL, 400, seed=1), vibrating(CRYSTAL, 4), max_frames=400)
    assert 1 - small.theta_s.value == pytest.approx(small.floor, rel=0.05)
    assert small.theta_s.value < 0.85
    assert small.theta_s_corrected == pytest.approx(1.0, abs=0.15)


@pytest.mark.parametrize("fraction", [0.1, 0.3, 0.5, 0.8])
def test_a_partly_random_crystal_has_its_fraction(fraction):
    # Of the waves of N atoms (1 - p) N are in phase: <|S|^2> = (1 - p)^2 |S_c|^2 + p / N.
    crystal = vibrating(LARGE, 6, seed=9)
    results = []
    for seed in range(6):
        run, which = mixed(LARGE, fraction, seed=seed)
        result = amorphisation(run, crystal)
        results.append(result)
        for symbol, measured in (
            ("Al", result.displaced_fraction.value),
            ("Li", 1 - result.crystal_site_fraction.value),
        ):
            own = np.flatnonzero(np.array(LARGE.species) == symbol)
            moved = np.isin(own, which).mean()
            assert measured == pytest.approx(moved, abs=0.06)
    assert np.mean([r.theta_s_corrected for r in results]) == pytest.approx(fraction, abs=0.03)
    assert np.mean([r.theta_s.value for r in results]) == pytest.approx(fraction, abs=0.05)


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_translation_order_and_direction_of_time_change_nothing(seed):
    rng = np.random.default_rng(seed)
    run, _ = mixed(CRYSTAL, 0.3, 5, seed)
    base = amorphisation(run, CRYSTAL)
    order = rng.permutation(CRYSTAL.n_atoms)
    wrapped = (run.positions + rng.normal(0, 9, 3)) @ np.linalg.inv(CRYSTAL.cell)
    positions = ((wrapped - np.floor(wrapped)) @ CRYSTAL.cell)[::-1][:, order]
    other = Trajectory(tuple(np.array(run.species)[order]), positions, run.cells, 0.1)
    result = amorphisation(other, CRYSTAL)
    assert result.theta_s.value == pytest.approx(base.theta_s.value, abs=1e-9)
    assert result.theta_s.standard_error == pytest.approx(base.theta_s.standard_error, abs=1e-9)
    assert result.theta_s_corrected == pytest.approx(base.theta_s_corrected, abs=1e-9)
    # An atom within rounding of a tolerance may change sides; no more.
    assert result.crystal_site_fraction.value == pytest.approx(base.crystal_site_fraction.value, abs=0.05)
    assert result.displaced_fraction.value == pytest.approx(base.displaced_fraction.value, abs=0.05)


def test_drift_is_no_disorder():
    still = amorphisation(vibrating(CRYSTAL, 20), vibrating(CRYSTAL, 20))
    for run, crystal in (
        (vibrating(CRYSTAL, 20, drift=0.8), vibrating(CRYSTAL, 20)),
        (vibrating(CRYSTAL, 20), vibrating(CRYSTAL, 20, drift=0.8)),
    ):
        for mapping in ("nearest", "order"):
            result = amorphisation(run, crystal, mapping=mapping)
            assert abs(result.theta_s.value - still.theta_s.value) < 0.02
            assert result.crystal_site_fraction.value == 1.0
            assert result.displaced_fraction.value == 0.0


def test_two_equal_atoms_that_changed_places_show_in_the_order_alone():
    positions = CRYSTAL.positions.copy()
    al, li = CRYSTAL.indices("Al"), CRYSTAL.indices("Li")
    positions[al[[0, 1]]] = positions[al[[1, 0]]]
    positions[li[[2, 3, 4]]] = positions[li[[3, 4, 2]]]
    run = Frame(CRYSTAL.species, positions, CRYSTAL.cell)
    nearest = amorphisation(run, CRYSTAL)
    assert (nearest.displaced_fraction.value, nearest.crystal_site_fraction.value) == (0.0, 1.0)
    ordered = amorphisation(run, CRYSTAL, mapping="order")
    assert ordered.displaced_fraction.value == pytest.approx(2 / 16)
    assert ordered.crystal_site_fraction.value == pytest.approx(13 / 16)
    assert nearest.theta_s.value == ordered.theta_s.value == pytest.approx(0, abs=1e-12)


def test_thresholds_decide():
    positions = CRYSTAL.positions.copy()
    al, li = CRYSTAL.indices("Al"), CRYSTAL.indices("Li")
    positions[al[:4], 0] += 0.9
    positions[li[:4], 0] += 0.7
    run = Frame(CRYSTAL.species, positions, CRYSTAL.cell)
    # The framework as a whole is moved by four of its 80 atoms, a little.
    for mapping in ("nearest", "order"):
        assert amorphisation(run, CRYSTAL, mapping=mapping).displaced_fraction.value == 0
        assert amorphisation(run, CRYSTAL, mapping=mapping, displacement=0.8).displaced_fraction.value == 0.25
        low = amorphisation(run, CRYSTAL, mapping=mapping, site_tolerance=0.6)
        assert low.crystal_site_fraction.value == 0.75


def test_a_unit_cell_stands_for_its_supercell():
    run = vibrating(CRYSTAL, 5, seed=3)
    one, other = amorphisation(run, UNIT), amorphisation(run, CRYSTAL)
    assert one.theta_s.value == pytest.approx(other.theta_s.value, abs=1e-9)
    assert one.crystal_site_fraction == other.crystal_site_fraction
    unit_run = vibrating(as_frame(UNIT), 8, seed=4)
    result = amorphisation(run, unit_run)
    assert result.n_crystal_frames == 8
    assert abs(result.theta_s.value) < 0.05
    assert result.displaced_fraction.value == 0
    # And in a strained, sheared cell with the same atoms.
    strain = np.array([[1.03, 0.02, 0], [0, 0.98, 0], [0.01, 0, 1.01]])
    strained = Trajectory(run.species, run.positions @ strain, run.cells @ strain, 0.1)
    assert amorphisation(strained, UNIT).theta_s.value == pytest.approx(
        amorphisation(run, UNIT).theta_s.value
    )


def test_a_still_crystal_overrates_and_says_so():
    run = vibrating(CRYSTAL, 20, amplitude=0.2)
    result = amorphisation(run, CRYSTAL, random(CRYSTAL))
    q_squared = result.q**2
    debye_waller = np.exp(-q_squared * 0.2**2 / 2)
    expected = 1 - (debye_waller * result.crystal_amplitude).mean() / result.crystal_amplitude.mean()
    assert result.theta_s.value == pytest.approx(expected, abs=0.02)
    assert "no thermal motion" in result.reason
    assert (result.theta_g, result.theta_g_noise) == (None, None)
    assert "without thermal motion of the crystal" in result.reason


def test_a_crystal_without_order_is_refused():
    result = amorphisation(vibrating(CRYSTAL, 3), random(CRYSTAL, 3))
    assert result.status == "insufficient"
    assert (result.theta_s, result.theta_s_corrected, result.floor) == (None, None, None)
    assert "stand out" in result.reason
    none = amorphisation(CRYSTAL, CRYSTAL, q_max=0.05)
    assert (none.status, len(none.vectors), none.amplitude.size) == ("insufficient", 0, 0)
    back = AmorphisationResult.model_validate_json(none.model_dump_json())
    assert back.status == none.status


def test_absent_roles_have_no_share():
    salt = bulk("LiCl", "rocksalt", a=5.13, cubic=True)
    result = amorphisation(salt * (2, 2, 2), salt)
    assert result.displaced_fraction is None
    assert result.crystal_site_fraction.value == 1.0
    metal = bulk("Al", "fcc", a=4.05, cubic=True)
    result = amorphisation(metal * (2, 2, 2), metal)
    assert result.crystal_site_fraction is None
    assert result.displaced_fraction.value == 0.0
    # Nothing but carriers: they are their own framework.
    lithium = bulk("Li", "bcc", a=3.5, cubic=True)
    assert amorphisation(lithium * (3, 3, 3), lithium).crystal_site_fraction.value == 1.0
    sodium = amorphisation(salt * (2, 2, 2), salt, carrier="Cl", center="Li")
    assert (sodium.crystal_site_fraction.value, sodium.displaced_fraction.value) == (1.0, 0.0)


def test_chosen_elements_count_alone():
    run, _ = mixed(CRYSTAL, 0.0, 4)
    positions = run.positions.copy()
    li = CRYSTAL.indices("Li")
    positions[:, li] = random(CRYSTAL, 4, seed=8).positions[:, li]
    molten = Trajectory(run.species, positions, run.cells, 0.1)
    crystal = vibrating(CRYSTAL, 4, seed=2)
    assert abs(amorphisation(molten, crystal, species=("Al", "Cl")).theta_s.value) < 0.03
    assert amorphisation(molten, crystal, species=("Li",)).theta_s.value > 0.5
    result = amorphisation(molten, crystal)
    assert result.crystal_site_fraction.value < 0.4
    assert result.displaced_fraction.value == 0
    with pytest.raises(InputError, match="'O'"):
        amorphisation(molten, crystal, species=("O",))


def test_one_frame_has_no_error():
    result = amorphisation(CRYSTAL, CRYSTAL)
    assert result.theta_s.standard_error is None
    assert result.theta_s.value == 0


def test_cells_and_atoms_that_do_not_match():
    with pytest.raises(InputError, match="strained"):
        amorphisation(CRYSTAL, bulk("LiCl", "rocksalt", a=5.13, cubic=True))
    small = Frame(CRYSTAL.species[:6], CRYSTAL.positions[:6], CRYSTAL.cell * 3)
    with pytest.raises(InputError, match="no supercell"):
        amorphisation(CRYSTAL, small)
    with pytest.raises(InputError, match="not those of the run"):
        amorphisation(Frame(CRYSTAL.species[1:], CRYSTAL.positions[1:], CRYSTAL.cell), CRYSTAL)
    order = np.argsort(CRYSTAL.species)
    sorted_atoms = Frame(tuple(np.array(CRYSTAL.species)[order]), CRYSTAL.positions[order], CRYSTAL.cell)
    assert amorphisation(sorted_atoms, CRYSTAL).displaced_fraction.value == 0
    with pytest.raises(InputError, match="order of atoms"):
        amorphisation(sorted_atoms, CRYSTAL, mapping="order")
    with pytest.raises(InputError, match="composition"):
        amorphisation(CRYSTAL, CRYSTAL, random(as_frame(bulk("LiCl", "rocksalt", a=5.13))))


@pytest.mark.parametrize(
    "parameters",
    [{"n_vectors": 0}, {"max_frames": 0}, {"q_max": 0.0}, {"site_tolerance": -1.0}, {"mapping": "best"}],
)
def test_parameters_out_of_range(parameters):
    with pytest.raises(InputError):
        amorphisation(CRYSTAL, CRYSTAL, **parameters)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_the_overlay_finds_any_translation(seed):
    rng = np.random.default_rng(seed)
    sites = CRYSTAL.positions @ np.linalg.inv(CRYSTAL.cell)
    shift = rng.normal(0, 3, 3)
    order = rng.permutation(CRYSTAL.n_atoms)
    species = tuple(np.array(CRYSTAL.species)[order])
    overlay = Overlay(sites, CRYSTAL.species, species, ("Al", "Cl"), CRYSTAL.cell)
    found = overlay.shift(sites[order] + shift, CRYSTAL.cell)
    # Up to a lattice vector of the unit cell, half of one of the supercell along a and b.
    rest = (found - shift) * [2, 2, 1]
    assert np.abs(rest - np.rint(rest)).max() < 1e-9


def test_sites_are_medians_free_of_drift():
    run = vibrating(CRYSTAL, 101, amplitude=0.1, drift=0.5)
    positions = run.positions.copy()
    positions[30:60, 0] += [2.0, 0, 0]
    hopped = Trajectory(run.species, positions, run.cells, 0.1)
    sites = mean_sites(hopped, np.flatnonzero(np.array(run.species) != "Li"))
    moves = sites - CRYSTAL.positions @ np.linalg.inv(CRYSTAL.cell)
    rest = moves - rigid_shift(moves)
    assert np.abs((rest - np.rint(rest)) @ CRYSTAL.cell).max() < 0.25


def test_a_matched_crystal_is_the_supercell():
    run = as_frame(UNIT * (3, 1, 2))
    series = Trajectory(run.species, run.positions[None], run.cell, 1.0)
    unit = as_frame(UNIT)
    crystal = Trajectory(unit.species, unit.positions[None], unit.cell, 1.0)
    matched = matched_crystal(crystal, np.array([0]), series, 0.01)
    assert matched.cells[0] == pytest.approx(run.cell)
    for symbol in ("Li", "Al", "Cl"):
        ours, theirs = (
            np.round((frame.positions[frame.indices(symbol)] @ np.linalg.inv(run.cell)) % 1, 6) % 1
            for frame in (matched.frame(0), run)
        )
        assert sorted(map(tuple, ours)) == sorted(map(tuple, theirs))


def test_runs_in_files_give_the_same(tmp_path):
    runs = vibrating(CRYSTAL, 9), vibrating(CRYSTAL, 7, seed=1), random(CRYSTAL, 4)
    stored = [Trajectory.open(run.write(tmp_path / f"{k}.h5md", "float64")) for k, run in enumerate(runs)]
    streamed = amorphisation(*stored, max_frames=5)
    assert streamed.model_dump_json() == amorphisation(*runs, max_frames=5).model_dump_json()
    assert (streamed.n_frames, streamed.n_crystal_frames) == (5, 5)
