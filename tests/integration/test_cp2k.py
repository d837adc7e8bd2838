"""The CP2K engine with the real CP2K: labels, dynamics, and what becomes of runs that fail."""

import re
import sys
from pathlib import Path

import dpdata
import numpy as np
import pytest
from ase import units
from ase.io import read
from custodian.cp2k.handlers import NumericalPrecisionHandler
from pymatgen.io.cp2k.outputs import Cp2kOutput

from laoc_flows.engines import cp2k as cp2k_module
from laoc_flows.engines import cp2k_runs
from laoc_flows.engines.cp2k import Cp2kEngine
from laoc_flows.engines.cp2k_recipe import BASIS_FILES, VALENCE
from laoc_flows.engines.dynamics import MDState, Segment
from laoc_flows.errors import EngineUnavailableError
from laoc_flows.schemas.label import LabelStatus

DATA = Path(__file__).parents[1] / "data"
SMALL = {"basis": "SZV-MOLOPT-SR-GTH", "cutoff": 200, "rel_cutoff": 40, "dispersion": "none"}


@pytest.fixture(scope="module")
def engine():
    found = Cp2kEngine(**SMALL)
    found.check_available()
    return found


@pytest.fixture(scope="module")
def melt():
    """LiAlCl4 at 1200 K (GFN1-xTB) in the smallest cell, species interleaved, with momenta."""
    return read(DATA / "melt_6.extxyz")


@pytest.fixture(autouse=True)
def workspace(tmp_path, monkeypatch):
    monkeypatch.setenv("LAOC_WORKSPACE", str(tmp_path / "workspace"))


@pytest.fixture
def folder(tmp_path):
    """A new empty directory each time."""

    def make():
        path = tmp_path / f"run-{len(list(tmp_path.iterdir()))}"
        path.mkdir()
        return path

    return make


def segment(ensemble="nvt", n_steps=3, *, seed=7, end=1200.0, frame_every=1):
    return Segment(ensemble, n_steps, 1.0, 1200.0, end, 0.0, frame_every, seed)


def one(engine, atoms, directory):
    (found,) = engine.single_points([atoms], directory)
    return found


@pytest.fixture(scope="module")
def six_steps(engine, melt, tmp_path_factory):
    """Six steps in one run: what runs in pieces are compared with."""
    return engine.run_segment(
        MDState(melt), segment(n_steps=6, frame_every=2), tmp_path_factory.mktemp("six")
    )


def test_every_basis_is_there_for_every_element():
    from laoc_flows.settings import Settings

    data = cp2k_module.data_directory(Settings.load())
    for basis, files in BASIS_FILES.items():
        sets, potentials = ((data / name).read_text() for name in files)
        for element, electrons in VALENCE.items():
            assert re.search(rf"^ *{element} .*{basis}-q{electrons}\b", sets, re.MULTILINE)
            assert re.search(rf"^ *{element} +GTH-PBE-q{electrons}\b", potentials, re.MULTILINE)


def test_a_label_of_a_melt_agrees_with_other_readers(engine, melt, folder):
    where = folder()
    found = one(engine, melt, where)
    assert (found.status, found.reason) == (LabelStatus.CONVERGED, "")
    output = where / "label-0000" / "cp2k.out"
    other = dpdata.LabeledSystem(str(output), fmt="cp2k/output").data
    # dpdata sorts nothing here; its hartree is an older one (1 in 10^8).
    assert found.energy == pytest.approx(other["energies"][0], rel=2e-8)
    assert np.allclose(found.forces, other["forces"][0], rtol=2e-8, atol=1e-8)
    parsed = Cp2kOutput(str(output))
    parsed.parse_stresses()
    tensor = np.array(parsed.data["stress_tensor"][0])
    assert np.allclose(found.stress[[0, 4, 5]] / units.GPa, -tensor[[0, 0, 0], [0, 2, 1]], rtol=1e-9)
    # Forces of a melt, not of a collapsed cell.
    assert 1.0 < np.abs(found.forces).max() < 15.0


def test_forces_and_stress_are_derivatives_of_the_energy(engine, melt, folder):
    step, strain = 0.01, 0.003
    # A strain of all six components: a wrong sign or order of the stress would show.
    shape = np.array([[1.0, 0.6, -0.4], [0.6, -0.3, 0.8], [-0.4, 0.8, 0.5]])
    frames = [melt]
    for sign in (1, -1):
        frames.append(melt.copy())
        frames[-1].positions[3, 1] += sign * step
        frames.append(melt.copy())
        frames[-1].set_cell(melt.cell.array @ (np.eye(3) + sign * strain * shape), scale_atoms=True)
    labels = list(engine.single_points(frames, folder()))
    assert [label.status for label in labels] == [LabelStatus.CONVERGED] * 5
    assert melt.get_chemical_symbols()[3] == "Al"
    force = -(labels[1].energy - labels[3].energy) / (2 * step)
    assert labels[0].forces[3, 1] == pytest.approx(force, abs=2e-3)
    work = (labels[2].energy - labels[4].energy) / (2 * strain)
    xx, yy, zz, yz, xz, xy = labels[0].stress * melt.get_volume()
    expected = 1.0 * xx - 0.3 * yy + 0.5 * zz + 2 * (0.8 * yz - 0.4 * xz + 0.6 * xy)
    assert abs(work) > 1.0
    assert expected == pytest.approx(work, rel=5e-3)


def test_a_run_in_pieces_is_the_run_in_one(engine, melt, six_steps, folder):
    """Positions, velocities and the thermostat's noise carry over; a fresh thermostat goes elsewhere."""
    assert (six_steps.n_steps, six_steps.failure, six_steps.corrections) == (6, "", ())
    first = engine.run_segment(MDState(melt), segment(), folder())
    state = MDState.unpack(first.state.pack())
    second = engine.run_segment(state, segment(seed=99), folder())
    rows = np.vstack([first.rows, second.rows])
    assert np.allclose(rows[:, 1:], six_steps.rows[:, 1:], rtol=2e-6)
    assert np.abs(second.state.atoms.positions - six_steps.state.atoms.positions).max() < 1e-6
    momenta = second.state.atoms.get_momenta()
    assert np.abs(momenta - six_steps.state.atoms.get_momenta()).max() < 1e-4
    fresh = engine.run_segment(MDState(first.state.atoms), segment(n_steps=1, seed=8), folder())
    assert abs(fresh.rows[0, 1] - second.rows[0, 1]) > 5.0


def test_a_run_is_continuous_with_its_start(melt, six_steps):
    """Positions are unwrapped, one of them from outside the cell; velocities are those of the start."""
    assert six_steps.frame_steps == [2, 4, 6]
    start = melt.positions + melt.get_velocities() * 2.0 * units.fs
    assert np.abs(six_steps.frames[0].positions - start).max() < 0.02
    assert (melt.positions < 0).any()
    assert np.array_equal(six_steps.frames[-1].numbers, melt.numbers)
    assert np.allclose(six_steps.frames[-1].positions, six_steps.state.atoms.positions, atol=1e-9)
    assert np.allclose(six_steps.frames[-1].get_momenta(), six_steps.state.atoms.get_momenta(), atol=1e-7)


def test_a_frame_of_a_run_is_a_label(engine, six_steps, folder):
    """Energy, forces and stress, the kinetic part of the stress left out; the pressure has N k T / V, once."""
    frame = six_steps.frames[0]
    label = one(engine, frame, folder())
    assert label.energy == pytest.approx(frame.get_potential_energy(), abs=1e-6)
    assert np.abs(label.forces - frame.get_forces()).max() < 1e-4
    assert np.abs(label.stress - frame.get_stress()).max() < 1e-3 * units.GPa
    step, temperature, pressure, energy, volume = six_steps.rows[1]
    assert (step, energy, volume) == (2, frame.get_potential_energy(), pytest.approx(frame.get_volume()))
    kinetic = 2 * frame.get_kinetic_energy() / (3 * len(frame) - 3) / units.kB
    assert temperature == pytest.approx(kinetic, rel=1e-5)
    ideal = len(frame) * units.kB * temperature / volume
    assert pressure == pytest.approx((ideal - label.stress[:3].mean()) / units.GPa, abs=1e-3)
    assert ideal / units.GPa > 0.3


def test_the_seed_decides_the_noise(engine, melt, six_steps, folder):
    other = engine.run_segment(MDState(melt), segment(n_steps=1, seed=8), folder())
    assert abs(other.rows[0, 1] - six_steps.rows[0, 1]) > 5.0


def test_a_barostat_follows_a_thermostat(engine, six_steps, folder):
    """A cell under compression grows; the restart file of the other ensemble does not hold."""
    found = engine.run_segment(six_steps.state, segment("npt", 2), folder())
    assert (found.n_steps, found.failure) == (2, "")
    assert found.rows[0, 2] > 1.0
    assert six_steps.state.atoms.get_volume() < found.rows[0, 4] < found.rows[1, 4]
    assert found.state.atoms.get_volume() == pytest.approx(found.rows[1, 4], rel=1e-8)
    assert found.frames[-1].cell.array == pytest.approx(found.state.atoms.cell.array, abs=1e-8)


def test_a_ramp_runs_down_its_stairs(engine, melt, folder):
    where = folder()
    found = engine.run_segment(MDState(melt), segment(n_steps=4, end=1110.0, frame_every=3), where)
    assert (found.n_steps, found.failure, found.frame_steps) == (4, "", [3])
    inputs = [(path / "cp2k.inp").read_text() for path in sorted(where.iterdir())]
    targets = [float(re.search(r"TEMPERATURE (\S+)", text)[1]) for text in inputs]
    assert targets == [1155.0, 1110.0]
    # The second leg begins with the wavefunction of the first: no search from atoms.
    outputs = [(path / "cp2k.out").read_text() for path in sorted(where.iterdir())]
    steps = [int(re.search(r"outer SCF loop converged in .* or +(\d+) steps", text)[1]) for text in outputs]
    assert steps[0] > 20
    assert steps[1] <= 3


def test_a_relaxation_goes_downhill(engine, melt, folder):
    found = engine.run_segment(MDState(melt), segment("relax", 2, frame_every=2), folder())
    assert (found.n_steps, found.failure) == (2, "")
    assert found.rows[1, 3] < found.rows[0, 3] - 0.1
    assert np.abs(found.frames[0].positions - found.state.atoms.positions).max() < 1e-9
    assert not found.state.atoms.get_momenta().any()
    assert found.state.restart == b""
    pressure = -found.frames[0].get_stress()[:3].mean() / units.GPa
    assert found.rows[1, 2] == pytest.approx(pressure)


def test_the_ladder_mends_what_the_first_method_cannot(melt, six_steps, folder):
    """DIIS in 15 steps does not converge; conjugate gradients do, to the same energy."""
    engine = Cp2kEngine(**SMALL, max_scf=15, outer_scf=1)
    found = one(engine, melt, folder())
    assert found.status is LabelStatus.CONVERGED
    assert [correction.handler for correction in found.corrections] == ["LadderHandler"]
    assert found.corrections[0].errors == ("SCF run NOT converged",)
    assert '"MINIMIZER": "CG"' in found.corrections[0].actions[0]
    # The six steps began from the same cell with the first method.
    work = six_steps.rows[0, 3] - found.energy
    assert -0.2 < work < 0.0


def test_an_scf_that_stays_unconverged_is_typed_so_with_its_log(melt, folder):
    engine = Cp2kEngine(**SMALL, max_scf=2, outer_scf=1)
    found = one(engine, melt, folder())
    assert (found.status, found.energy, found.forces) == (LabelStatus.UNCONVERGED, None, None)
    assert "ladder" in found.reason
    assert [bool(correction.actions) for correction in found.corrections] == [True, True, False]
    import io
    import tarfile

    with tarfile.open(fileobj=io.BytesIO(found.log)) as archive:
        assert set(archive.getnames()) == {"custodian.json", "cp2k.inp", "cp2k.out", "std_err.txt"}
        assert b"SCF run NOT converged" in archive.extractfile("cp2k.out").read()
    moved = engine.run_segment(MDState(melt), segment(), folder())
    assert (moved.n_steps, moved.frames, moved.rows.shape) == (0, [], (0, 5))
    assert "did not converge on any rung" in moved.failure
    assert moved.log
    assert np.array_equal(moved.state.atoms.positions, melt.positions)


def test_a_step_that_fails_is_done_again_with_the_next_method(engine, melt, six_steps, folder, monkeypatch):
    """The third SCF of the first attempt is said not to have converged: the run goes on from the step before."""
    where = folder()
    (where / "faulty.py").write_text(
        """
import pathlib, subprocess, sys
output = subprocess.run(["cp2k.psmp", *sys.argv[1:]], stdout=subprocess.PIPE, text=True).stdout
first = pathlib.Path(__file__).with_suffix(".done")
if not first.exists():
    first.touch()
    before, found, after = output.rpartition("*** SCF run converged")
    output = before + "*** SCF run NOT converged" + after
sys.stdout.write(output)
"""
    )
    monkeypatch.setenv("LAOC_CP2K_COMMAND", f"{sys.executable} {where / 'faulty.py'}")
    found = engine.run_segment(MDState(melt), segment(n_steps=2), folder())
    assert (found.n_steps, found.failure) == (2, "")
    assert [correction.handler for correction in found.corrections] == ["LadderHandler"]
    assert "run0-1_1.restart" in found.corrections[0].actions[0]
    assert np.allclose(found.rows, six_steps.rows[:2], rtol=2e-6)
    assert np.allclose(found.frames[1].get_forces(), six_steps.frames[0].get_forces(), atol=1e-4)


def test_a_run_that_is_out_of_time_keeps_its_steps(engine, melt, folder, monkeypatch):
    monkeypatch.setattr(cp2k_module, "DAY", 25.0)
    found = engine.run_segment(MDState(melt), segment(n_steps=500), folder())
    assert 0 < found.n_steps < 500
    assert (found.failure, len(found.frames)) == ("", found.n_steps)
    assert [correction.handler for correction in found.corrections] == ["WalltimeHandler"]
    assert np.allclose(found.frames[-1].positions, found.state.atoms.positions, atol=1e-9)
    monkeypatch.setattr(cp2k_module, "DAY", 2.0)
    label = one(engine, melt, folder())
    assert (label.status, label.reason) == (LabelStatus.UNCONVERGED, "stopped at the walltime")


def test_a_correction_that_changes_the_physics_is_rejected(engine, melt, folder, monkeypatch):
    """Custodian's own handler of stuck SCFs tightens the precision: another level of theory."""

    def meddling(*arguments):
        handler = NumericalPrecisionHandler(max_same=0, pgf_orb_strict=1.0, eps_default_strict=1e-13)
        handler.max_num_corrections = 1
        return (*ladder(*arguments), handler)

    ladder = cp2k_runs.handlers_of
    monkeypatch.setattr(cp2k_runs, "handlers_of", meddling)
    found = one(engine, melt, folder())
    assert (found.status, found.energy) == (LabelStatus.REJECTED_SETTINGS, None)
    assert "level of theory" in found.reason
    assert "NumericalPrecisionHandler" in {correction.handler for correction in found.corrections}
    moved = engine.run_segment(MDState(melt), segment(n_steps=2), folder())
    assert (moved.n_steps, moved.frames) == (0, [])
    assert "level of theory" in moved.failure


def test_a_program_that_never_begins_is_an_error_and_one_that_fails_an_outcome(
    engine, melt, folder, monkeypatch
):
    # Wrong on every frame: no label is to be called crashed for it.
    monkeypatch.setenv("LAOC_CP2K_COMMAND", "env no_such_cp2k")
    with pytest.raises(EngineUnavailableError, match=r"CP2K has not begun: .*no_such_cp2k"):
        one(engine, melt, folder())
    with pytest.raises(EngineUnavailableError, match="CP2K has not begun"):
        engine.run_segment(MDState(melt), segment(), folder())
    monkeypatch.setenv("LAOC_CP2K_COMMAND", "echo some words")
    label = one(engine, melt, folder())
    assert (label.status, label.reason) == (LabelStatus.CRASHED, "CP2K stopped without a message")
    moved = engine.run_segment(MDState(melt), segment(), folder())
    assert (moved.n_steps, moved.failure) == (0, "CP2K stopped after step 0: without a message")
    monkeypatch.delenv("LAOC_CP2K_COMMAND")
    odd = melt.copy()
    odd.pop(0)
    label = one(engine, odd, folder())
    assert label.status is LabelStatus.CRASHED
    assert "electron" in label.reason.lower()
