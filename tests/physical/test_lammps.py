"""LAMMPS with a committee: parity with DeePMD-kit itself, the soft core against its formula, energy conservation."""

import numpy as np
import pytest
from ase import Atoms

from laoc_flows.analysis import min_distance_ratio
from laoc_flows.engines.ase import XtbEngine
from laoc_flows.engines.labels import label_frame
from laoc_flows.engines.lammps import run_lammps
from laoc_flows.engines.packing import pack
from laoc_flows.learning.train import predict, train_model
from laoc_flows.schemas.config import Training
from laoc_flows.schemas.protocol import PairDistances, SoftCore, Stage

TRAINING = Training(
    steps=60,
    neuron=(8, 16),
    axis_neuron=4,
    fitting=(20, 20),
    precision="float64",
    start_lr=5e-3,
    stop_lr=1e-4,
)
CORE = SoftCore()
HOLD = Stage(name="hold", start_temperature=300, end_temperature=300, time=1e-6)


@pytest.fixture(scope="module", autouse=True)
def workspace(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAOC_WORKSPACE", str(tmp_path_factory.mktemp("ws")))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield


@pytest.fixture(scope="module")
def frame(tmp_path_factory):
    return pack(["Li"] * 2 + ["Al"] * 2 + ["O"] + ["Cl"] * 6, 6.6, 5, tmp_path_factory.mktemp("pack"))


@pytest.fixture(scope="module")
def models(frame, tmp_path_factory):
    engine = XtbEngine(accuracy=100)
    rng = np.random.default_rng(0)
    labels = []
    for _ in range(6):
        moved = frame.copy()
        moved.positions += rng.normal(scale=0.05, size=moved.positions.shape)
        labels.append(label_frame(moved, engine.calculator(), "l", {})[1])
    made = [train_model(labels, TRAINING, CORE, seed, tmp_path_factory.mktemp(f"m{seed}")) for seed in (1, 2)]
    assert all(files.parity_force < 1e-3 for files in made)
    return [files.model for files in made]


def run(frame, models, directory, *, core=CORE, stage=HOLD, time_step=1e-4, interval=1e-6, seed=7):
    return run_lammps(
        frame, models, core, [stage], time_step=time_step, frame_interval=interval, seed=seed, directory=directory
    )  # fmt: skip


def test_packing_is_outside_the_floor_and_keeps_its_ions(frame):
    assert min_distance_ratio(frame) > 1
    assert frame.get_chemical_formula() == "Al2Cl6Li2O"


def test_energy_and_deviation_agree_with_deepmd(frame, models, tmp_path):
    done = run(frame, models, tmp_path)
    assert not done.failure
    stage = done.stages[0]
    frames = [
        Atoms(done.symbols, p, cell=c, pbc=True) for p, c in zip(stage.positions, stage.cells, strict=True)
    ]
    predictions = [each.with_core(frames, CORE) for each in predict(models, frames, tmp_path)]
    last = int(stage.steps[-1])
    energy = stage.column("potential_energy")[list(stage.column("step")).index(last)]
    assert energy == pytest.approx(predictions[0].energies[-1], abs=1e-4)
    forces = np.array([p.forces[-1] for p in predictions])
    spread = np.sqrt(((forces - forces.mean(axis=0)) ** 2).sum(axis=2).mean(axis=0)).max()
    assert spread > 1e-3
    assert done.deviation[last] == pytest.approx(spread, rel=1e-3)


def test_soft_core_adds_its_formula_inside_and_nothing_outside(frame, models, tmp_path):
    def energy(radius, name):
        core = SoftCore(prefactor=13.0, radii=PairDistances(distances={"Al-Cl": radius}))
        (tmp_path / name).mkdir()
        return run(frame, models[:1], tmp_path / name, core=core).stages[0].column("potential_energy")[0]

    distances = frame.get_all_distances(mic=True)
    symbols = np.array(frame.get_chemical_symbols())
    pairs = np.sort(distances[np.ix_(symbols == "Al", symbols == "Cl")].ravel())
    outside = energy(pairs[0] - 0.05, "outside")
    radius = (pairs[1] + pairs[2]) / 2 + 0.2
    inside = pairs[pairs < radius]
    expected = 13.0 * (1 + np.cos(np.pi * inside / radius)).sum()
    assert len(inside) >= 2
    assert energy(radius, "inside") - outside == pytest.approx(expected, rel=1e-3)


def test_the_same_seed_gives_the_same_trajectory(frame, models, tmp_path):
    stage = Stage(name="hold", start_temperature=300, end_temperature=300, time=0.02)
    runs = []
    for name, seed in (("a", 7), ("b", 7), ("c", 8)):
        (tmp_path / name).mkdir()
        runs.append(
            run(frame, models, tmp_path / name, stage=stage, time_step=0.5, interval=0.005, seed=seed).stages[
                0
            ]
        )
    np.testing.assert_array_equal(runs[0].positions, runs[1].positions)
    assert not np.array_equal(runs[0].positions, runs[2].positions)


def test_a_run_that_blows_up_is_a_result_and_not_an_exception(frame, models, tmp_path):
    stage = Stage(name="hold", start_temperature=300, end_temperature=300, time=20.0)
    done = run(frame, models[:1], tmp_path, stage=stage, time_step=200.0, interval=0.2)
    assert done.failure
    for part in done.stages:
        assert np.isfinite(part.positions).all()


def test_frames_and_stages_are_where_they_belong(frame, models, tmp_path):
    stages = [
        Stage(name="melt", start_temperature=600, end_temperature=600, time=0.4, until_melted=True),
        Stage(name="npt", start_temperature=300, end_temperature=300, time=0.02, ensemble="npt"),
        Stage(name="nvt", start_temperature=300, end_temperature=300, time=0.02),
    ]
    done = run_lammps(
        frame, models[:1], CORE, stages, time_step=0.5, frame_interval=0.005, seed=1, directory=tmp_path, melt_threshold=1e-9
    )  # fmt: skip
    assert not done.failure
    assert [part.stage.name for part in done.stages] == ["melt", "npt", "nvt"]
    melt, npt, nvt = done.stages
    # The melt ends at its first check (500 steps), not at its limit (800).
    assert melt.steps[-1] == 500
    assert not np.allclose(npt.cells[0], npt.cells[-1])
    assert np.allclose(nvt.cells, nvt.cells[0])
    # Constant volume at the mean edge of the second half of the constant-pressure run.
    edges = npt.cells[:, 0, 0][npt.steps > npt.steps[-1] - 20]
    assert edges.min() - 0.02 <= nvt.cells[0, 0, 0] <= edges.max() + 0.02
    assert len(nvt.steps) >= 4
