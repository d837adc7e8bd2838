"""The PyTorch backend of DeePMD-kit, in the environment that `make pytorch` makes: 5 GB, so not part of `make test`."""

import os
import signal
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest

from laoc_flows.engines.lammps_engine import LammpsEngine
from laoc_flows.learning.evaluate import describe, predict
from laoc_flows.learning.train import Parent, train_model
from laoc_flows.schemas.potential import TrainingStatus
from laoc_flows.schemas.protocol import SoftCore
from laoc_flows.schemas.training import ShortRangeTable

CORE = SoftCore()
pytestmark = [pytest.mark.usefixtures("own_workspace"), pytest.mark.pytorch]


@pytest.fixture(scope="module")
def training(toy_training):
    assert Path(os.environ.get("LAOC_DEEPMD_PYTHON", "")).is_file(), "run it by `make pytorch`"
    return toy_training.model_copy(update={"backend": "pytorch"})


def trained(labeled, training, directory, seed=1, **options):
    files, attempts = train_model(labeled, training, CORE, seed, directory, **options)
    assert files is not None, attempts
    return files, attempts


@pytest.fixture(scope="module")
def plain(labeled, training, tmp_path_factory):
    return trained(labeled, training, tmp_path_factory.mktemp("plain"))[0]


def test_the_compressed_model_is_the_frozen_one_and_a_potential(plain, frame, tmp_path):
    assert plain.model.suffix == ".pth"
    assert plain.model != plain.frozen
    assert plain.parity_force < 1e-3
    assert set(plain.versions) == {"deepmd-kit", "pytorch"}
    step, moved = 1e-3, []
    for sign in (1, -1):
        other = frame.copy()
        other.positions[3, 1] += sign * step
        moved.append(other)
    (answer,) = predict([plain.model], [frame, *moved], tmp_path, "pytorch")
    slope = -(answer.energies[1] - answer.energies[2]) / (2 * step)
    assert answer.forces[0][3, 1] == pytest.approx(slope, abs=2e-4)
    (features,) = describe(plain.frozen, [frame], tmp_path, "pytorch")
    assert features.shape == (len(frame), 64)


def test_lammps_runs_it(plain, frame, tmp_path):
    engine = LammpsEngine(model=plain.model.resolve(), soft_core=CORE, identity="pytorch")
    engine.check_available()
    (point,) = engine.single_points([frame], tmp_path)
    (answer,) = predict([plain.model], [frame], tmp_path, "pytorch")
    expected = answer.with_core([frame], CORE)
    assert point.energy == pytest.approx(expected.energies[0], abs=1e-6)
    np.testing.assert_allclose(point.forces, expected.forces[0], atol=1e-6)


def test_dpa1_with_a_table(labeled, training, tmp_path):
    changes = {
        "descriptor": "dpa1",
        "attention_layers": 0,
        "steps": 30,
        "short_range": ShortRangeTable(inner=0.9, outer=1.4),
    }
    files, _ = trained(labeled, training.model_copy(update=changes), tmp_path)
    assert files.model == files.frozen


def test_a_warm_start_begins_where_its_parent_has_ended(labeled, training, plain, frame, tmp_path):
    settings = training.model_copy(update={"warm_steps": 10, "warm_start_lr": 1e-9, "stop_lr": 1e-10})
    warm, _ = trained(labeled, settings, tmp_path, seed=2, parent=Parent(plain.frozen, plain.sel))
    assert warm.warm
    before, after = predict([plain.frozen, warm.frozen], [frame], tmp_path, "pytorch")
    np.testing.assert_allclose(after.forces[0], before.forces[0], atol=1e-4)


def trainings_in(directory):
    """Processes of a training by id of their parent: itself, and those that read its data."""
    found = subprocess.run(["pgrep", "-f", "backend.py train"], capture_output=True, text=True, check=False)
    pids = [pid for pid in found.stdout.split() if Path(f"/proc/{pid}/cwd").resolve() == directory.resolve()]
    parents = {pid: Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1] for pid in pids}
    return {
        "itself": [int(pid) for pid in pids if parents[pid] not in pids],
        "what reads its data": [int(pid) for pid in pids if parents[pid] in pids],
    }


@pytest.mark.parametrize("victim", ["itself", "what reads its data"])
def test_a_killed_training_goes_on_from_its_checkpoint(labeled, training, tmp_path, victim):
    stop, killed = threading.Event(), []

    def kill():
        while not stop.wait(0.02):
            if (tmp_path / "try-0" / "checkpoint").exists():
                for pid in trainings_in(tmp_path / "try-0")[victim][:1]:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
                    return

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    files, attempts = trained(labeled, training.model_copy(update={"steps": 1100}), tmp_path)
    stop.set()
    thread.join()
    assert killed
    assert [(a.status, a.resumed) for a in attempts] == [(TrainingStatus.COMPLETED, True)]
    assert files.curve["step"][-1] == 1100
    assert len(files.curve["step"]) == len(set(files.curve["step"]))
