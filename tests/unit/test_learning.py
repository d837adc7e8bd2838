"""Data, selection, errors and the verdict of the learning loop."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from pydantic import ValidationError

from laoc_flows.blobs import BlobRef
from laoc_flows.learning.convergence import judge
from laoc_flows.learning.core import core_results, without_core
from laoc_flows.learning.data import measure_sel, split_by_force, write_systems
from laoc_flows.learning.errors import held_out_error
from laoc_flows.learning.evaluate import Prediction
from laoc_flows.learning.inputs import render_input
from laoc_flows.learning.selection import Explored, merge, offer
from laoc_flows.schemas.base import Provenance
from laoc_flows.schemas.dataset import Dataset
from laoc_flows.schemas.iteration import Calibration, PropertyCheck, Spent, StratumReport, Verdict
from laoc_flows.schemas.label import LabelBatch, LabelRecord, LabelStatus
from laoc_flows.schemas.learning import Learning, Probe, Selection, Targets, TrustLevels
from laoc_flows.schemas.potential import FitError, HeldOutError
from laoc_flows.schemas.protocol import PairDistances, SoftCore
from laoc_flows.schemas.training import ShortRangeTable, Training

SETTINGS = Selection(
    cold=TrustLevels(low=0.1, high=0.3), hot=TrustLevels(low=0.2, high=0.5), labels_per_stratum=3, spacing=0.5
)


def labeled(symbols, seed, scale=1.0):
    rng = np.random.default_rng(seed)
    atoms = Atoms(symbols, rng.uniform(0, 6, (len(symbols), 3)), cell=[6, 6.5, 7], pbc=True)
    atoms.calc = SinglePointCalculator(
        atoms,
        energy=float(rng.normal()),
        forces=scale * rng.normal(size=(len(symbols), 3)),
        stress=rng.normal(size=6),
    )
    return atoms


def explored(deviations, ratios=None, temperature=1000.0, n_cut=0, step=0.1):
    n = len(deviations)
    return Explored(
        temperature,
        np.arange(n) * step,
        np.array(deviations, float),
        np.ones(n) * 2 if ratios is None else np.array(ratios),
        n_cut,
    )


def test_force_limit():
    small, large = labeled(["Li", "Cl"], 1), labeled(["Li", "Cl"], 1, scale=100)
    kept, left = split_by_force([small, large], 10.0)
    assert kept == [small]
    assert left == 1


def test_systems_hold_what_deepmd_reads(tmp_path):
    frames = [labeled(["Li", "Al", "Cl"], 1), labeled(["Li", "O"], 2), labeled(["Li", "Al", "Cl"], 3)]
    paths = write_systems(frames, tmp_path)
    assert len(paths) == 2
    first = next(path for path in paths if len((path / "type.raw").read_text().split()) == 3)
    assert (first / "type_map.raw").read_text().split() == ["Li", "Al", "O", "Cl"]
    assert (first / "type.raw").read_text().split() == ["0", "1", "3"]
    np.testing.assert_allclose(np.load(first / "set.000/force.npy")[1], frames[2].get_forces().ravel())
    np.testing.assert_allclose(np.load(first / "set.000/energy.npy")[0], frames[0].get_potential_energy())
    virial = np.load(first / "set.000/virial.npy")[1].reshape(3, 3)
    np.testing.assert_allclose(virial, -frames[2].get_stress(voigt=False) * frames[2].get_volume())


def test_sel_counts_the_neighbors_of_rock_salt():
    # LiCl, a = 5.13: within 4 A an ion has 6 unlike (2.565) and 12 like (3.627) neighbors.
    frame = bulk("LiCl", "rocksalt", a=5.13, cubic=True)
    sel = measure_sel([frame], 4.0)
    assert sel == (int(np.ceil(1.3 * 12)) + 2, 2, 2, int(np.ceil(1.3 * 12)) + 2)


def test_input_is_complete_and_seeded(tmp_path):
    content = render_input(Training(steps=1000), (1, 2, 3, 4), [tmp_path / "a"], 7)
    assert content["model"]["type_map"] == ["Li", "Al", "O", "Cl"]
    assert content["model"]["descriptor"]["sel"] == [1, 2, 3, 4]
    assert content["training"]["numb_steps"] == 1000
    # Only a report is saved: the last step is one, or a checkpoint of its own.
    assert content["training"]["save_freq"] % content["training"]["disp_freq"] == 0
    assert content != render_input(Training(steps=1000), (1, 2, 3, 4), [tmp_path / "a"], 8)


def test_pytorch_takes_a_table_with_dpa1_only():
    table = ShortRangeTable(inner=0.9, outer=1.4)
    Training(backend="pytorch", descriptor="dpa1", short_range=table)
    with pytest.raises(ValidationError, match="short_range needs descriptor: dpa1"):
        Training(backend="pytorch", short_range=table)


def test_merging_adds_replicas_up():
    where = {"composition_id": "c"}
    trust = SETTINGS.hot
    *_, one = offer(explored([0.05, 0.25]), trust, SETTINGS, where, 1)
    *_, two = offer(explored([0.05, 0.05, 0.9], n_cut=2), trust, SETTINGS, where, 1)
    *_, other = offer(explored([0.05]), trust, SETTINGS, {**where, "volume_scale": 0.9}, 1)
    total, apart = sorted(merge([one, two, other]), key=lambda r: -r.n_frames)
    assert (total.n_frames, total.n_accurate, total.n_candidates, total.n_failed, total.n_cut) == (
        7,
        3,
        1,
        1,
        2,
    )
    assert total.candidate_share == pytest.approx(4 / 7)
    assert (apart.volume_scale, apart.n_frames) == (0.9, 1)


def stratum(share, temperature=300.0, composition="c"):
    n = 1000
    candidates = round(share * n)
    return StratumReport(
        composition_id=composition, temperature=temperature, n_frames=n, n_accurate=n - candidates, n_candidates=candidates,
        n_failed=0, n_cut=0, n_selected=0, trust_low=0.1, trust_high=0.3, median_deviation=0.1, max_deviation=0.2,
    )  # fmt: skip


def held_out(rmse):
    return HeldOutError(
        n_frames=9, n_trajectories=1, force_rmse=rmse, force_rmse_error=None, zero_force_rmse=1, energy_rmse=0, energy_bias=0, stress_rmse=0
    )  # fmt: skip


LEARNING = Learning(targets=Targets(force_rmse=0.1, candidate_share=0.01), max_iterations=8, probe=None)


def test_runs_that_were_cut_are_told_from_frames_that_the_committee_does_not_agree_on():
    some = stratum(0.02).model_copy(update={"n_cut": 100, "n_frames": 1100})
    lost = stratum(0.0, 900.0).model_copy(update={"n_cut": 1000, "n_accurate": 0, "max_deviation": None})
    reasons = " | ".join(judge(1, LEARNING, [some, lost], [some, lost], {"c": held_out(0.01)}).reasons)
    assert "11% of the frames at 300 K are not agreed on, 9% for runs that were cut" in reasons
    assert "all runs at 900 K were cut before their first frame" in reasons


@pytest.mark.parametrize(
    ("now", "before", "rmse", "iteration", "verdict", "reason"),
    [
        (0.005, 0.005, 0.05, 3, Verdict.CONVERGED, ""),
        (0.005, 0.05, 0.05, 3, Verdict.CONTINUE, "once, not twice"),
        (0.005, None, 0.05, 0, Verdict.CONTINUE, "once, not twice"),
        (0.05, 0.005, 0.05, 3, Verdict.CONTINUE, "5% of the frames at 300 K"),
        (0.005, 0.005, 0.2, 3, Verdict.CONTINUE, "RMSE 0.200 >= 0.1"),
        (0.005, 0.005, 0.2, 7, Verdict.NOT_CONVERGED, "RMSE 0.200 >= 0.1"),
        (0.005, 0.005, None, 7, Verdict.NOT_CONVERGED, "no held-out"),
    ],
)
def test_verdict(now, before, rmse, iteration, verdict, reason):
    previous = [stratum(before)] if before is not None else []
    errors = {"c": held_out(rmse)} if rmse is not None else {}
    got = judge(iteration, LEARNING, [stratum(now)], previous, errors)
    assert got.verdict is verdict
    assert (reason in got.reasons[0]) if reason else got.reasons == ()
    assert got.by_composition["c"].startswith("converged" if not reason else "not converged: ")
    assert bool(got.limit) == (verdict is Verdict.NOT_CONVERGED)


def test_a_committee_of_equal_models_has_not_converged():
    same = stratum(0.0).model_copy(update={"median_deviation": 0.0, "max_deviation": 1e-9})
    got = judge(1, LEARNING, [same], [same], {"c": held_out(0.01)})
    assert got.verdict is Verdict.CONTINUE
    assert got.reasons == (
        "c: the models of the committee are the same at 300 K: that they agree says nothing",
    )


def test_a_model_that_does_not_fit_its_own_labels_needs_no_more_of_them():
    good, errors = [stratum(0.001)], {"c": held_out(0.3)}
    for fit, said in ((0.25, True), (0.05, False)):
        fitted = {"c": FitError(n_frames=50, force_rmse=fit, energy_rmse=0.001)}
        (reason,) = judge(1, LEARNING, good, good, errors, fitted=fitted).reasons
        assert reason.startswith("c: held-out force RMSE 0.300 >= ")
        assert ("(0.250 on its training labels: more steps or a larger model" in reason) == said


def test_one_bad_stratum_is_enough():
    good, bad = stratum(0.0), stratum(0.5, composition="d")
    got = judge(1, LEARNING, [good, bad], [good, bad], {"c": held_out(0.01), "d": held_out(0.01)})
    assert got.verdict is Verdict.CONTINUE
    assert got.by_composition["c"] == "converged"
    assert got.by_composition["d"].startswith("not converged")


def test_energies_and_held_out_compositions_count():
    good = [stratum(0.0)]
    off = held_out(0.01).model_copy(update={"energy_rmse": 0.05})
    got = judge(1, LEARNING, good, good, {"c": off})
    assert got.reasons == ("c: held-out energy RMSE 0.0500 >= 0.01 eV/atom",)
    got = judge(1, LEARNING, good, good, {"c": held_out(0.01), "never trained on": held_out(0.3)})
    assert got.reasons == ("never trained on: held-out force RMSE 0.300 >= 0.1 eV/A",)
    # What is explored between the points of the grid has no held-out trajectory to be tested on.
    both = [*good, stratum(0.0, composition="m")]
    assert judge(1, LEARNING, both, both, {"c": held_out(0.01)}).verdict is Verdict.CONTINUE
    assert judge(1, LEARNING, both, both, {"c": held_out(0.01)}, between=("m",)).verdict is Verdict.CONVERGED


@pytest.mark.parametrize(
    ("limits", "spent", "words"),
    [
        ({"max_labels": 30}, Spent(labels=30), "max_labels = 30 is reached: 30 labels were asked for"),
        ({"max_labels": 30}, Spent(labels=29), ""),
        ({"max_core_hours": 2.0}, Spent(core_hours=2.5), "max_core_hours = 2 h is reached: 2.5 h were used"),
        ({"max_core_hours": 2.0}, Spent(core_hours=1.9), ""),
        ({"max_iterations": 2}, Spent(), "max_iterations = 2 is reached"),
    ],
)
def test_limits_end_the_loop_and_are_named(limits, spent, words):
    bad = [stratum(0.5)]
    learning = LEARNING.model_copy(update=limits)
    got = judge(1, learning, bad, bad, {"c": held_out(0.01)}, spent=spent)
    assert got.limit == words
    assert got.verdict is (Verdict.NOT_CONVERGED if words else Verdict.CONTINUE)
    good = [stratum(0.0)]
    done = judge(1, learning, good, good, {"c": held_out(0.01)}, spent=spent)
    assert (done.verdict, done.limit) == (Verdict.CONVERGED, "")


def property_check(status):
    return PropertyCheck(
        composition_id="c", name="density", status=status, difference=0.1, difference_error=0.01, tolerance=0.03, reason="why"
    )  # fmt: skip


def test_properties_are_looked_at_last_and_a_difference_is_no_convergence():
    learning = LEARNING.model_copy(update={"probe": Probe()})
    good, errors = [stratum(0.0)], {"c": held_out(0.01)}
    assert judge(1, learning, good, good, errors).probes_are_due
    assert not judge(1, learning, [stratum(0.5)], good, errors).probes_are_due
    assert not judge(1, LEARNING, good, good, errors).probes_are_due
    differ = judge(1, learning, good, good, errors, properties=[property_check("differ")])
    assert (differ.verdict, differ.probes_are_due) == (Verdict.CONTINUE, False)
    assert differ.reasons == ("c: density of the models differs: why",)
    unknown = judge(1, learning, good, good, errors, properties=[property_check("cannot tell")])
    assert unknown.verdict is Verdict.CONVERGED
    assert unknown.by_composition["c"] == "converged (density: cannot tell)"
    assert judge(1, learning, good, good, errors, properties=[property_check("agree")]).by_composition == {
        "c": "converged"
    }


def test_an_audit_that_finds_agreement_worthless_is_no_convergence():
    good, errors = [stratum(0.0)], {"c": held_out(0.01)}
    levels = TrustLevels(low=0.1, high=0.3)
    for missed, verdict in ((3, Verdict.CONVERGED), (6, Verdict.CONTINUE)):
        audit = Calibration(
            stratum=good[0].stratum, levels=levels, n_labels=8, n_audited=8, n_audit_missed=missed
        )
        assert judge(1, LEARNING, good, good, errors, calibration=[audit]).verdict is verdict


def test_trivial_model_has_the_error_of_the_baseline():
    frames = [labeled(["Li", "Al", "Cl"], seed) for seed in range(10)]
    zero = Prediction(np.zeros(10), [np.zeros((3, 3))] * 10, np.zeros((10, 3, 3)))
    error = held_out_error(frames, zero, 1)
    assert error.force_rmse == pytest.approx(error.zero_force_rmse)
    assert error.force_rmse == pytest.approx(np.sqrt(np.mean([f.get_forces() ** 2 for f in frames])))
    stress = np.array([f.get_stress(voigt=False) for f in frames]) / units.GPa
    assert error.stress_rmse == pytest.approx(np.sqrt(np.mean(stress**2)))


def test_perfect_model_has_no_error_and_a_bias_is_seen():
    frames = [labeled(["Li", "Al", "Cl"], seed) for seed in range(10)]
    energies = np.array([f.get_potential_energy() for f in frames])
    virials = np.array([-f.get_stress(voigt=False) * f.get_volume() for f in frames])
    perfect = Prediction(energies + 0.3, [f.get_forces() for f in frames], virials)
    error = held_out_error(frames, perfect, 1)
    assert error.force_rmse == 0
    assert error.stress_rmse == pytest.approx(0, abs=1e-12)
    assert error.energy_bias == pytest.approx(0.1)
    assert error.energy_rmse == pytest.approx(0.1)


def batch(name, held_out=False, level="l", replica=0, n=2):
    record = LabelRecord(key="k", status=LabelStatus.CONVERGED, n_atoms=2, energy=1.0, max_force=1.0, index=0)
    provenance = Provenance(
        campaign_id="c",
        campaign_seed=0,
        composition_id="x1.000-y0.000",
        stage="seed",
        replica=replica,
        held_out=held_out,
    )
    return LabelBatch(
        key=name, campaign_id="c", level_of_theory=level, provenance=provenance, records=(record,) * n,
        shard=BlobRef(sha256=name, size=1, media_type="m"),
    )  # fmt: skip


def test_data_sets_are_split_by_trajectory_and_never_mix_levels():
    empty = Dataset(level_of_theory="l", members=())
    full = empty.extended([batch("a"), batch("b", held_out=True, replica=1), batch("a")])
    assert (full.n_train, full.n_test, len(full.members)) == (2, 2, 2)
    assert full.digest == empty.extended([batch("b", held_out=True, replica=1), batch("a")]).digest
    assert full.digest != empty.extended([batch("a")]).digest
    with pytest.raises(ValueError, match="does not belong"):
        full.extended([batch("d", level="other")])
    with pytest.raises(ValueError, match="both trained on and tested on"):
        full.extended([batch("e", held_out=True)])


def crowded(seed=0):
    """Cell with many pairs inside their cores, some of them several images of one pair."""
    rng = np.random.default_rng(seed)
    symbols = ["Li", "Al", "O", "Cl", "Cl", "Al"]
    return Atoms(
        symbols, rng.uniform(0, 3, (6, 3)), cell=[[3.1, 0, 0], [0.4, 3.3, 0], [-0.3, 0.5, 3.2]], pbc=True
    )


def test_core_of_one_pair_is_its_formula():
    core = SoftCore(prefactor=7.0, radii=PairDistances(distances={"Al-O": 2.0}))
    atoms = Atoms("OAl", [[0, 0, 0], [1.2, 0, 0]], cell=[9, 9, 9], pbc=True)
    energy, forces, virial = core_results(atoms, core)
    assert energy == pytest.approx(7.0 * (1 + np.cos(np.pi * 0.6)))
    assert forces[1, 0] == pytest.approx(7.0 * np.pi / 2.0 * np.sin(np.pi * 0.6))
    np.testing.assert_allclose(forces[0], -forces[1])
    assert virial[0, 0] == pytest.approx(1.2 * forces[1, 0])
    assert core_results(atoms, SoftCore(prefactor=7.0, radii=PairDistances(distances={"Al-Al": 5.0})))[0] == 0


def test_core_forces_and_virial_are_slopes_of_its_energy():
    core, atoms, step = SoftCore(), crowded(), 1e-5
    _, forces, virial = core_results(atoms, core)
    assert np.abs(forces).max() > 10
    for atom, axis in ((0, 0), (2, 1), (5, 2)):
        ends = []
        for sign in (1, -1):
            moved = atoms.copy()
            moved.positions[atom, axis] += sign * step
            ends.append(core_results(moved, core)[0])
        assert forces[atom, axis] == pytest.approx(-(ends[0] - ends[1]) / (2 * step), rel=1e-6)
    for i, j in ((0, 0), (0, 1), (1, 2)):
        ends = []
        for sign in (1, -1):
            strain = np.eye(3)
            strain[i, j] += sign * step / 2
            strain[j, i] += sign * step / 2
            strained = atoms.copy()
            strained.set_cell(atoms.cell.array @ strain, scale_atoms=True)
            ends.append(core_results(strained, core)[0])
        assert virial[i, j] == pytest.approx(-(ends[0] - ends[1]) / (2 * step), rel=1e-6)


def test_subtracting_the_core_and_adding_it_again_changes_nothing():
    core, frames = SoftCore(), []
    for seed in range(3):
        atoms = crowded(seed)
        rng = np.random.default_rng(seed)
        atoms.calc = SinglePointCalculator(
            atoms, energy=1.0, forces=rng.normal(size=(6, 3)), stress=rng.normal(size=6)
        )
        frames.append(atoms)
    bare = without_core(frames, core)
    assert abs(bare[0].get_potential_energy() - 1.0) > 1
    learned = Prediction(
        np.array([f.get_potential_energy() for f in bare]),
        [f.get_forces() for f in bare],
        np.array([-f.get_stress(voigt=False) * f.get_volume() for f in bare]),
    )
    error = held_out_error(frames, learned.with_core(frames, core), 1)
    assert error.force_rmse == pytest.approx(0, abs=1e-10)
    assert error.energy_rmse == pytest.approx(0, abs=1e-10)
    assert error.stress_rmse == pytest.approx(0, abs=1e-8)
