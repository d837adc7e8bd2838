"""LAMMPS with a committee: parity with DeePMD-kit itself, the soft core against its formula, energy conservation."""

import io
import json
import subprocess
import sys
import tarfile

import numpy as np
import pytest
from ase import Atoms, units
from ase.io.lammpsdata import write_lammps_data
from ase.md.velocitydistribution import Stationary, thermalize_momenta
from scipy.spatial.transform import Rotation

from laoc_flows.analysis import min_distance_ratio
from laoc_flows.engines.dynamics import MDState, Segment
from laoc_flows.engines.labels import total_pressure
from laoc_flows.engines.lammps import (
    header,
    interaction,
    lammps_environment,
    lammps_program,
    run_lammps,
)
from laoc_flows.engines.lammps_engine import LammpsEngine
from laoc_flows.errors import EngineUnavailableError
from laoc_flows.learning.evaluate import predict
from laoc_flows.learning.train import train_model
from laoc_flows.process import run_program
from laoc_flows.schemas.base import SPECIES
from laoc_flows.schemas.label import LabelStatus
from laoc_flows.schemas.protocol import PairDistances, SoftCore, Stage

CORE = SoftCore()
HOLD = Stage(name="hold", start_temperature=300, end_temperature=300, time=1e-6)
pytestmark = pytest.mark.usefixtures("own_workspace")


@pytest.fixture(scope="module")
def models(labeled, toy_training, tmp_path_factory):
    made = [
        train_model(labeled, toy_training, CORE, seed, tmp_path_factory.mktemp(f"m{seed}"))[0]
        for seed in (1, 2)
    ]
    assert all(files.parity_force < 1e-3 for files in made)
    return [files.model for files in made]


def run(frame, models, directory, *, core=CORE, stage=HOLD, time_step=1e-4, interval=1e-6, seed=7):
    return run_lammps(
        frame, models, core, [stage], time_step=time_step, frame_interval=interval, seed=seed, directory=directory
    )  # fmt: skip


def test_the_environment_is_what_the_launcher_itself_would_set():
    """Ours is found without importing TensorFlow and PyTorch."""
    ask = "import json, os, lammps.executable as e; print('@@', json.dumps([e.ROOT_DIR, dict(os.environ)]))"
    said = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True).stdout
    root, environment = json.loads(said.partition("@@")[2])
    assert lammps_program() == [f"{root}/lmp"]
    for name, value in lammps_environment(plugin=True).items():
        assert value == environment[name], name


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
        Stage(name="melt", start_temperature=600, end_temperature=600, time=0.04),
        Stage(name="npt", start_temperature=300, end_temperature=300, time=0.02, ensemble="npt"),
        Stage(name="nvt", start_temperature=300, end_temperature=300, time=0.02),
    ]
    done = run_lammps(
        frame, models[:1], CORE, stages, time_step=0.5, frame_interval=0.005, seed=1, directory=tmp_path
    )
    assert not done.failure
    assert [part.stage.name for part in done.stages] == ["melt", "npt", "nvt"]
    melt, npt, nvt = done.stages
    assert melt.steps[-1] == 80
    assert not np.allclose(npt.cells[0], npt.cells[-1])
    assert np.allclose(nvt.cells, nvt.cells[0])
    assert len(nvt.steps) >= 4


@pytest.fixture(scope="module")
def engine(models):
    return LammpsEngine(model=models[0], soft_core=CORE, identity="test")


@pytest.fixture(scope="module")
def hot(frame):
    """A cell that is not along the axes, as LAMMPS wants it, with atoms in other images and with velocities."""
    atoms = frame.copy()
    shear = np.array([[1.0, 0, 0], [0.1, 1, 0], [0.05, 0.08, 1]])
    turn = Rotation.from_euler("xyz", (20, 35, 50), degrees=True).as_matrix()
    atoms.set_cell(atoms.cell.array @ shear @ turn, scale_atoms=True)
    atoms.positions += (
        atoms.cell.array[np.arange(len(atoms)) % 3] * np.array([[2], [-1]])[np.arange(len(atoms)) % 2]
    )
    thermalize_momenta(atoms, temperature_K=400, rng=np.random.default_rng(4))
    Stationary(atoms)
    return atoms


def segment(**more):
    known = {
        "ensemble": "nvt",
        "n_steps": 40,
        "time_step": 0.5,
        "start_temperature": 400.0,
        "end_temperature": 400.0,
    }
    return Segment(**{**known, "pressure": 0.0, "frame_every": 10, "seed": 1, **more})


def run_in(engine, atoms_or_state, directory, **more):
    directory.mkdir()
    state = atoms_or_state if isinstance(atoms_or_state, MDState) else MDState(atoms_or_state)
    return engine.run_segment(state, segment(**more), directory)


def test_single_points_are_those_of_deepmd_and_of_the_core(engine, models, frame, hot, tmp_path):
    (tmp_path / "lammps").mkdir()
    points = list(engine.single_points([frame, hot], tmp_path / "lammps"))
    predicted = predict(models[:1], [frame, hot], tmp_path)[0].with_core([frame, hot], CORE)
    for point, energy, forces, virial, atoms in zip(
        points, predicted.energies, predicted.forces, predicted.virials, [frame, hot], strict=True
    ):
        assert point.status is LabelStatus.CONVERGED
        assert point.energy == pytest.approx(energy, abs=1e-4)
        np.testing.assert_allclose(point.forces, forces, atol=1e-4)
        stress = -virial / atoms.get_volume()
        np.testing.assert_allclose(point.stress, stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]], atol=1e-6)


def test_a_frame_that_ends_the_program_is_an_outcome_and_the_others_are_computed(engine, frame, tmp_path):
    broken = frame.copy()
    broken.positions[3, 1] = np.nan
    points = list(engine.single_points([frame, broken, frame], tmp_path))
    assert [point.status.value for point in points] == ["converged", "crashed", "converged"]
    assert "ERROR" in points[1].reason
    assert points[1].log
    assert points[0].energy == pytest.approx(points[2].energy, rel=1e-9)


def test_a_segment_is_newtons(engine, hot, tmp_path):
    """Against ASE's integrator with the forces of single points: the frame of a turned and sheared cell."""
    steps, dt = 4, 0.05
    done = run_in(engine, hot, tmp_path / "md", n_steps=steps, time_step=dt, frame_every=1)
    assert not done.failure
    atoms = hot.copy()
    for step in range(steps):
        (tmp_path / f"{step}").mkdir()
        (point,) = engine.single_points([atoms], tmp_path / f"{step}")
        if step == 0:
            forces = point.forces
        velocities = atoms.get_velocities() + 0.5 * dt * units.fs * forces / atoms.get_masses()[:, None]
        atoms.positions += dt * units.fs * velocities
        (tmp_path / f"{step}b").mkdir()
        (point,) = engine.single_points([atoms], tmp_path / f"{step}b")
        forces = point.forces
        atoms.set_velocities(velocities + 0.5 * dt * units.fs * forces / atoms.get_masses()[:, None])
        # Continuous with the start, images and all; the thermostat has done next to nothing yet.
        np.testing.assert_allclose(done.frames[step].positions, atoms.positions, atol=2e-6)
        row = done.rows[step]
        assert row[3] == pytest.approx(point.energy, abs=1e-3)
        kinetic = 2 * atoms.get_kinetic_energy() / ((3 * len(atoms) - 3) * units.kB)
        assert row[1] == pytest.approx(kinetic, rel=1e-3)
        total = total_pressure(point.stress, len(atoms), atoms.get_volume(), kinetic * (1 - 1 / len(atoms)))
        assert row[2] == pytest.approx(total, abs=2e-3)
    assert done.frame_steps == [1, 2, 3, 4]
    np.testing.assert_allclose(done.frames[0].cell.array, hot.cell.array, atol=1e-9)
    np.testing.assert_allclose(done.state.atoms.get_velocities(), atoms.get_velocities(), atol=1e-4)


def test_energy_is_conserved_the_better_the_shorter_the_step(hot, models, tmp_path):
    """Velocity Verlet: the energy swings with the square of the time step, and does not drift."""
    spread = []
    for time_step in (0.5, 0.25):
        steps = round(500 / time_step)
        script = [*header(), "read_data start.data", *interaction(models[:1], CORE)]
        script += [f"timestep {time_step / 1000}", "fix move all nve"]
        script += ["fix rows all print 10 \"$(step) $(etotal)\" file rows.txt screen no title ''"]
        script += [f"run {steps}"]
        directory = tmp_path / str(time_step)
        directory.mkdir()
        write_lammps_data(
            directory / "start.data",
            hot,
            specorder=list(SPECIES),
            velocities=True,
            units="metal",
            atom_style="atomic",
        )
        (directory / "in.nve").write_text("\n".join(script) + "\n")
        done = run_program(
            [*lammps_program(), "-in", "in.nve", "-log", "none"],
            directory=directory,
            log="out",
            environment=lammps_environment(plugin=True),
        )
        assert done.returncode == 0, done.tail(5)
        energy = np.loadtxt(directory / "rows.txt")[:, 1] / len(hot)
        # Of 0.5 ps, in eV per atom: means of the halves differ by no more than the energy swings.
        first, second = np.array_split(energy, 2)
        assert abs(second.mean() - first.mean()) < 2e-4
        spread.append(energy.std())
    assert spread[0] < 5e-4
    assert spread[1] < spread[0] / 2.5


# LAMMPS gives the barostat its mass at the first temperature of a run: only without a ramp is it the same twice.
@pytest.mark.parametrize(("ensemble", "end"), [("nvt", 300.0), ("npt", 400.0)])
def test_n_steps_and_n_steps_are_two_n_steps(engine, hot, tmp_path, ensemble, end):
    whole = run_in(engine, hot, tmp_path / "whole", ensemble=ensemble, n_steps=400, end_temperature=end)
    middle = (400 + end) / 2
    first = run_in(engine, hot, tmp_path / "first", ensemble=ensemble, n_steps=200, end_temperature=middle)
    rest = {"ensemble": ensemble, "n_steps": 200, "start_temperature": middle, "end_temperature": end}
    second = run_in(engine, MDState.unpack(first.state.pack()), tmp_path / "second", **rest)
    assert (whole.failure, first.failure, second.failure) == ("", "", "")
    assert second.n_steps == 200
    np.testing.assert_allclose(second.state.atoms.positions, whole.state.atoms.positions, atol=1e-8)
    np.testing.assert_allclose(second.state.atoms.get_momenta(), whole.state.atoms.get_momenta(), atol=1e-8)
    np.testing.assert_allclose(second.state.atoms.cell.array, whole.state.atoms.cell.array, atol=1e-8)
    np.testing.assert_allclose(second.rows[:, 1:], whole.rows[len(first.rows) :, 1:], rtol=1e-6, atol=1e-6)
    assert [*first.frame_steps, *(200 + step for step in second.frame_steps)] == whole.frame_steps
    # Without the restart the thermostat starts anew: the same atoms, another run.
    fresh = run_in(engine, MDState(first.state.atoms), tmp_path / "fresh", **rest)
    assert np.abs(fresh.state.atoms.positions - whole.state.atoms.positions).max() > 1e-5
    fractions = [each.frames[0].get_scaled_positions(wrap=False) for each in (fresh, second)]
    np.testing.assert_allclose(*fractions, atol=0.01)


@pytest.mark.parametrize("thermostat", ["sample", "measure"])
def test_both_thermostats_hold_their_temperature_and_leave_it_its_fluctuations(
    engine, hot, tmp_path, thermostat
):
    settled = run_in(engine, hot, tmp_path / "settle", n_steps=2000, end_temperature=300.0)
    held = {"n_steps": 8000, "start_temperature": 300.0, "end_temperature": 300.0, "thermostat": thermostat}
    done = run_in(engine, settled.state, tmp_path / "held", **held)
    assert not done.failure
    temperature = done.rows[:, 1]
    blocks = np.array([block.mean() for block in np.array_split(temperature, 10)])
    error = blocks.std(ddof=1) / np.sqrt(10)
    assert abs(temperature.mean() - 300) < 4 * error + 3
    assert error < 20
    # Canonical: the variance of the kinetic temperature is 2 T^2 / (3 N - 3), here 77 K squared.
    assert temperature.std() == pytest.approx(300 * np.sqrt(2 / (3 * len(hot) - 3)), rel=0.3)


def test_the_center_of_mass_stays_where_it_is_and_the_volume_only_at_constant_pressure(engine, hot, tmp_path):
    masses = hot.get_masses()[:, None] / hot.get_masses().sum()
    start = (masses * hot.get_scaled_positions(wrap=False)).sum(axis=0)
    for ensemble in ("nvt", "npt"):
        done = run_in(engine, hot, tmp_path / ensemble, ensemble=ensemble, n_steps=300, pressure=5.0)
        last = done.frames[-1]
        np.testing.assert_allclose(
            (masses * last.get_scaled_positions(wrap=False)).sum(axis=0), start, atol=1e-4
        )
        change = last.get_volume() / hot.get_volume() - 1
        assert done.rows[-1, 4] == pytest.approx(last.get_volume(), rel=1e-6)
        assert (abs(change) > 1e-3) == (ensemble == "npt")
        # Isotropic: edges change, angles do not.
        np.testing.assert_allclose(last.cell.array / hot.cell.array, (1 + change) ** (1 / 3), rtol=1e-6)


def test_a_relaxation_goes_downhill_in_a_constant_cell(engine, frame, tmp_path):
    moved = frame.copy()
    moved.rattle(0.05, seed=3)
    done = run_in(engine, moved, tmp_path / "relax", ensemble="relax", n_steps=30, frame_every=31)
    (tmp_path / "points").mkdir()
    before, after = engine.single_points([moved, done.state.atoms], tmp_path / "points")
    assert not done.failure
    assert done.frames == []
    assert after.energy < before.energy
    assert np.abs(after.forces).max() < np.abs(before.forces).max()
    np.testing.assert_allclose(done.state.atoms.cell.array, moved.cell.array, atol=1e-9)


def test_a_segment_that_blows_up_keeps_what_it_made_and_says_why(engine, hot, tmp_path):
    done = run_in(engine, hot, tmp_path / "md", n_steps=2000, time_step=50.0, frame_every=1)
    assert done.failure
    assert done.n_steps <= 2000
    assert all(np.isfinite(atoms.positions).all() for atoms in done.frames)
    with tarfile.open(fileobj=io.BytesIO(done.log)) as archive:
        assert "lammps.log" in archive.getnames()


def test_the_time_limit_ends_a_segment_without_a_failure_and_the_next_one_goes_on(engine, hot, tmp_path):
    done = run_in(engine, hot, tmp_path / "first", n_steps=10**6, time_limit=1.0)
    assert not done.failure
    assert 0 < done.n_steps < 10**6
    assert done.n_steps == done.rows[-1, 0]
    following = run_in(engine, done.state, tmp_path / "second", n_steps=10)
    assert following.n_steps == 10
    step = following.frames[0].positions - done.state.atoms.positions
    assert 0 < np.abs(step).max() < 0.5


def test_a_missing_model_is_said_before_anything_runs(tmp_path):
    with pytest.raises(EngineUnavailableError, match="the model is not there"):
        LammpsEngine(model=tmp_path / "no.pb", soft_core=CORE, identity="x").check_available()
