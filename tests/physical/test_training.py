"""Trainings of every kind that the settings offer, and what their models are held to."""

import numpy as np
import pytest
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator

from laoc_flows.engines.lammps import lammps_environment, lammps_program
from laoc_flows.learning.evaluate import describe, predict
from laoc_flows.learning.inputs import repulsion, short_range_table
from laoc_flows.learning.train import Parent, train_model
from laoc_flows.process import run_program
from laoc_flows.schemas.base import SPECIES
from laoc_flows.schemas.potential import TrainingStatus
from laoc_flows.schemas.protocol import SoftCore
from laoc_flows.schemas.training import ShortRangeTable

NO_CORE = SoftCore(prefactor=0.0)
pytestmark = pytest.mark.usefixtures("own_workspace")


def trained(labeled, training, directory, seed=1, **options):
    files, attempts = train_model(labeled, training, NO_CORE, seed, directory, **options)
    assert files is not None, attempts
    assert attempts[-1].status is TrainingStatus.COMPLETED
    return files


@pytest.fixture(scope="module")
def plain(labeled, toy_training, tmp_path_factory):
    return trained(labeled, toy_training, tmp_path_factory.mktemp("plain"))


def check_forces(model, frame, directory, tolerance):
    """Forces are the slopes of the energy."""
    step, moved = 1e-3, []
    for sign in (1, -1):
        other = frame.copy()
        other.positions[3, 1] += sign * step
        moved.append(other)
    (answer,) = predict([model], [frame, *moved], directory)
    slope = -(answer.energies[1] - answer.energies[2]) / (2 * step)
    assert answer.forces[0][3, 1] == pytest.approx(slope, abs=tolerance)
    return answer


def test_a_bootstrap_sample_leaves_some_frames_out_and_is_another_for_another_seed(
    labeled, toy_training, plain, tmp_path
):
    one = trained(labeled, toy_training, tmp_path, bootstrap=True)
    assert one.n_train == len(labeled)
    assert one.n_distinct < len(labeled)
    assert plain.n_distinct is None
    assert one.curve["rmse_f_trn"] != plain.curve["rmse_f_trn"]


def test_a_warm_start_begins_where_its_parent_has_ended(labeled, toy_training, plain, frame, tmp_path):
    settings = toy_training.model_copy(update={"warm_steps": 10, "warm_start_lr": 1e-9, "stop_lr": 1e-10})
    warm = trained(labeled, settings, tmp_path / "warm", seed=2, parent=Parent(plain.frozen, plain.sel))
    assert warm.warm
    assert (warm.steps, plain.steps) == (10, 60)
    assert warm.sel == plain.sel
    # With next to no rate it is its parent still, whatever its seed.
    before, after = predict([plain.frozen, warm.frozen], [frame], tmp_path)
    np.testing.assert_allclose(after.forces[0], before.forces[0], atol=1e-4)
    # Where the data have outgrown the neighbors that it keeps, a training begins anew.
    small = Parent(plain.frozen, (1, 1, 1, 1))
    cold = trained(labeled, settings, tmp_path / "cold", seed=2, parent=small)
    assert not cold.warm
    assert cold.steps == 60
    (other,) = predict([cold.frozen], [frame], tmp_path)
    assert np.abs(other.forces[0] - before.forces[0]).max() > 0.05


def test_half_a_checkpoint_is_no_reason_for_a_lower_rate(labeled, toy_training, plain, tmp_path):
    place = tmp_path / "try-0"
    place.mkdir()
    (place / "checkpoint").write_text('model_checkpoint_path: "model.ckpt-1000"\n')
    (place / "model.ckpt-1000.index").write_bytes(b"half")
    files, attempts = train_model(labeled, toy_training, NO_CORE, 1, tmp_path)
    assert [(a.status, a.start_lr, a.resumed) for a in attempts] == [
        (TrainingStatus.COMPLETED, toy_training.start_lr, False)
    ]
    assert files.curve == plain.curve


def test_dpa1_is_a_potential(labeled, toy_training, frame, tmp_path):
    settings = toy_training.model_copy(update={"descriptor": "dpa1", "attention_layers": 1, "steps": 40})
    files = trained(labeled, settings, tmp_path)
    assert files.model == files.frozen
    check_forces(files.model, frame, tmp_path, 2e-4)


def test_an_input_of_an_expert_replaces_the_architecture(labeled, toy_training, frame, tmp_path):
    given = {
        "model": {
            "descriptor": {"type": "se_e2_r", "sel": [30, 30, 30, 60], "rcut": 5.0, "rcut_smth": 1.0, "neuron": [6, 12]},
            "fitting_net": {"neuron": [10, 10], "resnet_dt": True},
        },
        "learning_rate": {"type": "exp", "start_lr": 0.01, "stop_lr": 1e-3, "decay_steps": 10},
    }  # fmt: skip
    settings = toy_training.model_copy(update={"input": given, "steps": 40})
    files = trained(labeled, settings, tmp_path)
    assert '"se_e2_r"' in (tmp_path / "try-0" / "input.json").read_text()
    check_forces(files.model, frame, tmp_path, 2e-4)


def test_below_its_inner_radius_a_model_with_a_table_is_the_repulsion_of_the_nuclei(
    labeled, toy_training, tmp_path
):
    table = ShortRangeTable(inner=0.9, outer=1.4)
    settings = toy_training.model_copy(update={"short_range": table, "steps": 40})
    files = trained(labeled, settings, tmp_path)
    for distance in (0.5, 0.7):
        pair = Atoms("AlO", [[0, 0, 0], [0, 0, distance]], cell=[15, 15, 15], pbc=True)
        (answer,) = predict([files.model], [pair], tmp_path)
        ends = repulsion("Al", "O", np.array([distance - 1e-4, distance + 1e-4]))
        slope = (ends[1] - ends[0]) / 2e-4
        assert answer.forces[0][1, 2] == pytest.approx(-slope, rel=0.02)


def test_the_repulsion_is_that_of_lammps(tmp_path):
    """Differences of energies, for LAMMPS adds a constant to its own (pair_style zbl)."""
    distances = (0.4, 0.6, 0.9)
    script = ["units metal", "atom_style atomic", "boundary p p p", "region box block 0 30 0 30 0 30"]
    script += ["create_box 2 box", "create_atoms 1 single 5 5 5", "create_atoms 2 single 5 5 5.4"]
    script += ["mass 1 26.98", "mass 2 16.0", "pair_style zbl 8.0 9.0"]
    script += ["pair_coeff 1 1 13 13", "pair_coeff 1 2 13 8", "pair_coeff 2 2 8 8", "thermo_modify norm no"]
    for distance in distances:
        script += [f"set atom 2 z {5 + distance}", "run 0 post no", 'print "pe $(pe)" append pe.txt']
    (tmp_path / "in.zbl").write_text("\n".join(script) + "\n")
    done = run_program(
        [*lammps_program(), "-in", "in.zbl", "-log", "none"],
        directory=tmp_path,
        log="out",
        environment=lammps_environment(plugin=False),
    )
    assert done.returncode == 0, done.tail(5)
    lines = (tmp_path / "pe.txt").read_text().split()
    energies = np.array([float(word) for word in lines[1::2]])
    ours = repulsion("Al", "O", np.array(distances))
    np.testing.assert_allclose(np.diff(ours), np.diff(energies), rtol=2e-3)
    table = short_range_table(6.0)
    column = 1 + [(a, b) for i, a in enumerate(SPECIES) for b in SPECIES[i:]].index(("Al", "O"))
    row = table[np.argmin(np.abs(table[:, 0] - 0.6))]
    assert row[column] == pytest.approx(ours[1], rel=1e-6)


def test_descriptors_do_not_see_rotations_shifts_and_the_order_of_atoms(plain, frame, tmp_path):
    turned = frame.copy()
    turned.rotate(40, "x", rotate_cell=True)
    turned.positions += [0.3, -0.2, 0.7]
    turned.wrap()
    order = np.array([1, 0, *range(2, len(frame))])
    one, two = describe(plain.frozen, [frame, turned[order]], tmp_path)
    assert one.shape == (len(frame), 64)
    scale = np.abs(one).max()
    np.testing.assert_allclose(two, one[order], atol=1e-5 * scale)
    other = frame.copy()
    other.positions[0] += 0.5
    (three,) = describe(plain.frozen, [other], tmp_path)
    assert np.abs(three - one).max() > 1e-3 * scale


def test_no_data_and_labels_that_are_no_numbers_are_typed(labeled, toy_training, tmp_path):
    strict = toy_training.model_copy(update={"max_force": 1e-9})
    files, (attempt,) = train_model(labeled, strict, NO_CORE, 1, tmp_path)
    assert files is None
    assert attempt.status is TrainingStatus.NO_DATA
    assert "no label is within max_force" in attempt.reason
    broken = [frame.copy() for frame in labeled]
    for frame, source in zip(broken, labeled, strict=True):
        frame.calc = source.calc
    broken[2].calc = SinglePointCalculator(
        broken[2], energy=float("nan"), forces=labeled[2].get_forces(), stress=labeled[2].get_stress()
    )
    files, (attempt,) = train_model(broken, toy_training, NO_CORE, 1, tmp_path)
    assert files is None
    assert attempt.status is TrainingStatus.NO_DATA
    assert "1 of 6 labels are not finite numbers, the first is number 2" in attempt.reason
