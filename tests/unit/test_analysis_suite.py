"""The suite as a whole: what it returns, what it refuses, and what it says of it."""

import json

import numpy as np
import pytest
from ase.build import make_supercell

from laoc_flows.analysis import PARTS, Analysis, Trajectory, analyze, diffusive_window, msd, rdf, survey
from laoc_flows.errors import InputError


@pytest.fixture(scope="module")
def cell(lialcl4):
    return make_supercell(lialcl4, np.diag([2, 2, 1]))


@pytest.fixture(scope="module")
def run(cell):
    """The crystal with vibrations, and Li that walks through it as if nothing were there: D = 6e-6 cm^2/s."""
    rng = np.random.default_rng(3)
    n_frames = 1200
    positions = cell.positions + rng.normal(scale=0.05, size=(n_frames, len(cell), 3))
    li = np.array(cell.get_chemical_symbols()) == "Li"
    positions[:, li] += rng.normal(scale=0.11, size=(n_frames, li.sum(), 3)).cumsum(axis=0)
    return Trajectory(cell.get_chemical_symbols(), positions, cell.cell.array, time_step=0.1)


@pytest.fixture(scope="module")
def whole(run, cell):
    return analyze(run, 300.0, crystal=cell, seed=1)


def test_everything_is_there_and_agrees_with_the_functions(whole, run):
    assert whole.missing == {}
    assert whole.survey.averages["AlCl4"].value == 1.0
    assert whole.survey.sum_rule.tolist() == survey(run).sum_rule.tolist()
    assert whole.pairs.of("Al", "Cl").g == rdf(run, "Al", "Cl").g
    assert set(whole.msd) == set(whole.windows) == set(whole.diffusion) == {"Li", "Al", "Cl"}
    assert whole.msd["Li"].value == msd(run, "Li").value
    assert whole.windows["Cl"] == diffusive_window(msd(run, "Cl"))
    assert whole.rotations["Cl"].n_events == 0
    assert whole.network.rings.counts == dict.fromkeys(whole.network.rings.counts, 0)
    assert abs(whole.amorphisation.theta_s.value) < 0.2


def test_the_walk_has_its_diffusion_coefficient_and_its_conductivity(whole):
    # Each axis gains 0.11^2 A^2 every 0.1 ps.
    expected = 0.11**2 / (2 * 0.1) * 1e-4
    low, high = whole.diffusion["Li"].interval
    assert low < expected < high
    assert whole.diffusion["Li"].value == pytest.approx(expected, rel=0.3)
    n_li, kelvin, volume = 16, 300.0, whole.system.volume
    siemens = (
        n_li / (volume * 1e-24) * 1.602176634e-19**2 * whole.diffusion["Li"].value / (1.380649e-23 * kelvin)
    )
    assert whole.nernst_einstein.value == pytest.approx(siemens * 1e3, rel=0.01)
    assert whole.diffusion["Cl"].value is None
    assert whole.hops.n_hops > 0


def test_the_result_survives_json(whole):
    text = whole.model_dump_json()
    again = Analysis.model_validate_json(text)
    assert again.model_dump_json() == text
    assert "NaN" not in text
    assert "Infinity" not in text
    assert json.loads(text)["system"]["formula"] == {"Li": 16, "Al": 16, "Cl": 64}


def test_the_same_seed_gives_the_same_numbers(run):
    parts = ("diffusion", "conductivity", "mixing")
    first, second = (analyze(run, 300.0, parts=parts, seed=5) for _ in range(2))
    assert first.model_dump_json() == second.model_dump_json()


def test_in_a_varying_cell_there_is_structure_and_the_reason_why_there_is_no_motion(run):
    scale = np.linspace(1.0, 1.01, 60)[:, None, None]
    breathing = Trajectory(run.species, run.positions[:60] * scale, run.cells[:60] * scale, 0.1)
    found = analyze(breathing, 300.0)
    assert found.survey.averages["AlCl4"].value == 1.0
    assert found.msd == {}
    assert "cell varies" in found.missing["msd.Li"]
    for name in ("hops", "haven", "nernst_einstein", "collective", "p_hop"):
        assert getattr(found, name) is None
        assert "cell" in found.missing[name]


@pytest.mark.parametrize("gone", ["Li", "Al", "Cl"])
def test_an_absent_element_is_no_error(run, gone):
    keep = [k for k, symbol in enumerate(run.species) if symbol != gone]
    species = [run.species[k] for k in keep]
    found = analyze(Trajectory(species, run.positions[:80, keep], run.cells[:80], 0.1), 300.0)
    assert gone not in found.system.formula
    assert found.hops is None or found.hops.n_hops == 0
    json.loads(found.model_dump_json())


def test_one_frame_has_structure_only(run):
    found = analyze(run.block(0, 1), 300.0)
    assert found.survey.averages["AlCl4"].value == 1.0
    assert found.survey.averages["AlCl4"].standard_error is None
    assert found.diffusion["Li"].status == "insufficient"
    assert found.nernst_einstein.value is None


def test_without_a_temperature_there_is_no_conductivity(run):
    found = analyze(run.block(0, 100), parts=("conductivity",))
    assert found.missing["conductivity"] == "no temperature was given"
    assert found.nernst_einstein is None


def test_other_chemistries_need_cutoffs_and_nothing_else():
    rng = np.random.default_rng(0)
    directions = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]]) / np.sqrt(3)
    sites = [np.zeros(3), *(2.05 * directions), [4.0, 4, 4], [4.0, 0, 4], [0, 4.0, 4]]
    positions = np.array(sites) + rng.normal(scale=0.03, size=(200, 8, 3))
    run = Trajectory(("P", "S", "S", "S", "S", "Li", "Li", "Li"), positions, 9.0 * np.eye(3), 0.1)
    roles = {"center": "P", "ligands": ("S",), "charges": {"Li": 1, "P": 5, "S": -2}}
    with pytest.raises(InputError, match="cutoff of P-S"):
        analyze(run, 300.0, **roles)
    with pytest.raises(InputError, match="cutoff of P-P"):
        analyze(run, 300.0, **roles, bond_cutoffs={"S": 2.7})
    found = analyze(run, 300.0, **roles, bond_cutoffs={"S": 2.7}, chain_cutoff=4.0)
    assert found.survey.averages["PS4"].value == 1.0
    assert set(found.rotations) == set(found.persistence) == {"S"}
    assert found.missing.keys() == {"amorphisation"}


def test_parts_are_chosen_by_name_and_announced_in_order(run):
    seen = []
    found = analyze(run.block(0, 20), parts=("pairs", "survey"), progress=lambda *step: seen.append(step))
    assert seen == [("survey", 0, 2), ("pairs", 1, 2), ("done", 2, 2)]
    assert found.msd == {}
    assert found.pairs is not None
    with pytest.raises(InputError, match="no part nothing"):
        analyze(run, parts=("nothing",))
    assert len(PARTS) == len(set(PARTS))


def test_copies_of_one_cell_are_fewer_samples(run):
    once, copied = (analyze(run, 300.0, parts=("msd", "diffusion", "conductivity"), copies=n) for n in (1, 2))
    assert copied.system.copies == 2
    assert copied.windows["Li"].n_eff == pytest.approx(once.windows["Li"].n_eff / 2)
    # Half the samples: sqrt(2) times the error.
    assert copied.diffusion["Li"].standard_error == pytest.approx(
        2**0.5 * once.diffusion["Li"].standard_error, rel=0.25
    )
    assert copied.nernst_einstein.standard_error > 1.15 * once.nernst_einstein.standard_error
