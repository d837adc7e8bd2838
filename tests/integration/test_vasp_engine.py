"""The VASP engine on the stand-in VASP: atomate2, custodian, files and parsers are the real ones."""

import io
import os
import tarfile
from types import SimpleNamespace

import dpdata
import numpy as np
import pytest
from ase import Atoms, units
from ase.io import read
from ase.md.velocitydistribution import Stationary, thermalize_momenta
from pymatgen.io.vasp.outputs import Oszicar

from laoc_flows.engines import clock, vasp_runs
from laoc_flows.engines.dynamics import MDState, Segment
from laoc_flows.engines.vasp import VaspEngine
from laoc_flows.errors import EngineUnavailableError
from laoc_flows.schemas.label import LabelStatus
from tests.standin import install
from tests.standin.model import pair_model

SYMBOLS = ["Cl", "Li", "Al", "Cl", "O", "Li", "Cl", "Al", "Cl", "Cl"]


@pytest.fixture(autouse=True)
def vasp(tmp_path, monkeypatch):
    """Install the stand-in with a fault, and give its name."""
    monkeypatch.setattr(vasp_runs, "PATIENCE", vasp_runs.Patience(poll=0.02, look=0.2))
    monkeypatch.chdir(tmp_path)

    def plant(fault=None, **options):
        for key, value in install(tmp_path / "standin", fault=fault, **options).items():
            monkeypatch.setenv(key, value)

    plant()
    return plant


@pytest.fixture
def folder(tmp_path):
    """A new empty directory each time."""
    made = []

    def new():
        made.append(tmp_path / f"run-{len(made)}")
        made[-1].mkdir()
        return made[-1]

    return new


def cell(temperature=None) -> Atoms:
    rng = np.random.default_rng(3)
    grid = np.array([[i, j, k] for i in range(3) for j in range(2) for k in range(2)][:10]) / [3, 2, 2]
    vectors = [[9.0, 0.0, 0.0], [0.5, 7.0, 0.0], [0.0, 0.4, 7.0]]
    fractions = grid + rng.uniform(-0.02, 0.02, (10, 3))
    # As after a long run: the atoms are in other images of the cell.
    fractions += rng.integers(-2, 3, (10, 3))
    atoms = Atoms(SYMBOLS, cell=vectors, pbc=True)
    atoms.positions = fractions @ atoms.cell.array
    if temperature is not None:
        thermalize_momenta(atoms, temperature_K=temperature, rng=rng)
        Stationary(atoms)
    return atoms


def segment(**changes) -> Segment:
    values = {
        "ensemble": "nvt",
        "n_steps": 20,
        "time_step": 1.0,
        "start_temperature": 800.0,
        "end_temperature": 800.0,
        "pressure": 0.0,
        "frame_every": 5,
        "seed": 11,
    }
    return Segment(**{**values, **changes})


def label(engine, folder, atoms=None):
    (point,) = engine.single_points([cell() if atoms is None else atoms], folder)
    return point


def matched(engine_atoms, other):
    """Index in another code's output of each of our atoms, by species and place."""
    found = []
    for symbol, place in zip(engine_atoms.symbols, engine_atoms.positions, strict=True):
        away = (other.positions - place) @ np.linalg.inv(other.cell.array)
        away = np.linalg.norm((away - np.round(away)) @ other.cell.array, axis=1)
        index = int(np.argmin(away))
        assert away[index] < 1e-5
        assert other.symbols[index] == symbol
        found.append(index)
    assert sorted(found) == list(range(len(other)))
    return found


def test_a_label_is_what_ase_and_dpdata_read(folder):
    where = folder()
    atoms = cell()
    point = label(VaspEngine(), where, atoms)
    assert (point.status, point.reason, point.corrections) == (LabelStatus.CONVERGED, "", ())
    path = where / "label-0000"
    theirs = read(path / "vasprun.xml")
    order = matched(atoms, theirs)
    assert order != sorted(order)
    assert point.energy == pytest.approx(theirs.calc.results["free_energy"], abs=1e-8)
    np.testing.assert_allclose(point.forces, theirs.get_forces()[order], atol=1e-8)
    np.testing.assert_allclose(point.stress, theirs.get_stress(), atol=1e-9)
    assert np.abs(point.forces).max() > 0.5
    for name, kind in (("vasprun.xml", "vasp/xml"), ("OUTCAR", "vasp/outcar")):
        system = dpdata.LabeledSystem(str(path / name), fmt=kind)
        names = [system["atom_names"][i] for i in system["atom_types"]]
        assert [names[i] for i in order] == SYMBOLS
        assert point.energy == pytest.approx(system["energies"][0], abs=1e-6)
        np.testing.assert_allclose(point.forces, system["forces"][0][order], atol=2e-6)
        virial = -atoms.get_volume() * np.array(point.stress)[[0, 5, 4, 5, 1, 3, 4, 3, 2]].reshape(3, 3)
        np.testing.assert_allclose(virial, system["virials"][0], atol=1e-3)


def test_the_forces_are_the_derivative_of_the_energy(folder):
    atoms = cell()
    middle = label(VaspEngine(), folder(), atoms)
    step = 1e-3
    for atom, axis in ((0, 1), (2, 0), (4, 2)):
        moved = []
        for sign in (1, -1):
            other = atoms.copy()
            other.positions[atom, axis] += sign * step
            moved.append(other)
        above, below = VaspEngine().single_points(moved, folder())
        slope = -(above.energy - below.energy) / (2 * step)
        assert middle.forces[atom, axis] == pytest.approx(slope, abs=2e-4)


def test_dispersion_is_another_energy_and_cheaper_settings_are_too(folder):
    energies = [label(VaspEngine(preset=preset), folder()).energy for preset in ("d3", "paper")]
    assert energies[0] < energies[1] - 0.01
    run = VaspEngine().run_segment(MDState(cell(300)), segment(n_steps=1, frame_every=1), folder())
    assert abs(run.frames[0].get_potential_energy() - energies[0]) > 1e-3


def test_a_segment_is_what_ase_and_oszicar_say(folder):
    where = folder()
    atoms = cell(800)
    run = VaspEngine().run_segment(MDState(atoms), segment(), where)
    assert (run.n_steps, run.failure, run.corrections, run.log) == (20, "", (), b"")
    assert run.frame_steps == [5, 10, 15, 20]
    theirs = read(where / "nvt" / "vasprun.xml", index=":")
    order = matched(atoms, theirs[0])
    assert run.rows.shape == (20, 5)
    np.testing.assert_allclose(run.rows[:, 0], np.arange(1, 21))
    energies = [frame.calc.results["free_energy"] for frame in theirs]
    np.testing.assert_allclose(run.rows[:, 3], energies, atol=1e-8)
    for frame, step in zip(run.frames, run.frame_steps, strict=True):
        other = theirs[step - 1]
        assert frame.get_chemical_symbols() == SYMBOLS
        np.testing.assert_allclose(frame.get_forces(), other.get_forces()[order], atol=1e-8)
        np.testing.assert_allclose(frame.get_stress(), other.get_stress(), atol=1e-9)
        away = (frame.positions - other.positions[order]) @ np.linalg.inv(frame.cell.array)
        np.testing.assert_allclose(away, np.round(away), atol=1e-5)
        # Unwrapped and continuous with the start.
        assert np.abs(frame.positions - atoms.positions).max() < 1.5
    temperatures = [step["T"] for step in Oszicar(where / "nvt" / "OSZICAR").ionic_steps]
    np.testing.assert_allclose(run.rows[:, 1], temperatures, atol=0.6)
    stress = theirs[4].get_stress()[:3].sum() / 3
    ideal = len(atoms) * units.kB * run.rows[4, 1] / atoms.get_volume()
    assert run.rows[4, 2] == pytest.approx((ideal - stress) / units.GPa, rel=1e-6)
    assert ideal / units.GPa > 0.2
    np.testing.assert_allclose(run.rows[:, 4], 441.0)


@pytest.mark.parametrize("restart", [True, False])
def test_two_segments_are_one_if_the_thermostat_goes_along(folder, restart):
    engine = VaspEngine()
    start = MDState(cell(800))
    whole = engine.run_segment(start, segment(n_steps=24, frame_every=24), folder())
    half = segment(n_steps=12, frame_every=12)
    first = engine.run_segment(start, half, folder())
    state = MDState.unpack(first.state.pack())
    assert b"\n\n" in state.restart
    if not restart:
        state = MDState(state.atoms)
    second = engine.run_segment(state, half, folder())
    rows = np.concatenate([first.rows, second.rows])
    np.testing.assert_allclose(rows[:12, 1:], whole.rows[:12, 1:], rtol=1e-12)
    end = np.abs(second.frames[0].positions - whole.frames[0].positions).max()
    if restart:
        np.testing.assert_allclose(rows[:, 1:], whole.rows[:, 1:], atol=2e-4)
        assert end < 1e-6
        np.testing.assert_allclose(second.state.atoms.positions, whole.state.atoms.positions, atol=1e-6)
        np.testing.assert_allclose(
            second.state.atoms.get_momenta(), whole.state.atoms.get_momenta(), atol=1e-5
        )
    else:
        assert end > 1e-4


def test_the_state_continues_the_last_step(folder):
    run = VaspEngine().run_segment(MDState(cell(800)), segment(frame_every=1), folder())
    state = run.state.atoms
    moved = state.positions - run.frames[-1].positions
    # The configuration after the last: one step further with its own velocities.
    np.testing.assert_allclose(moved, state.get_velocities() * units.fs, atol=2e-3)
    assert np.abs(moved).max() > 5e-3


def test_a_ramp_ends_where_it_should(folder):
    engine = VaspEngine(thermostat="langevin", langevin_gamma=100.0)
    # Away from its minimum the cell would heat itself.
    relaxed = engine.run_segment(MDState(cell()), segment(ensemble="relax", n_steps=80), folder())
    atoms = relaxed.state.atoms
    thermalize_momenta(atoms, temperature_K=900.0, rng=np.random.default_rng(1))
    ramp = segment(n_steps=300, start_temperature=900.0, end_temperature=300.0, time_step=2.0)
    run = engine.run_segment(MDState(atoms), ramp, folder())
    assert run.n_steps == 300
    means = run.rows[:, 1].reshape(3, 100).mean(axis=1)
    assert means[0] > means[1] > means[2]
    assert run.rows[250:, 1].mean() == pytest.approx(350, abs=75)


def test_seeds_decide_the_langevin_thermostat(folder):
    engine = VaspEngine(thermostat="langevin")
    ends = []
    for seed in (1, 1, 2):
        run = engine.run_segment(MDState(cell(800)), segment(seed=seed, n_steps=10), folder())
        ends.append(run.state.atoms.positions)
    np.testing.assert_array_equal(ends[0], ends[1])
    assert np.abs(ends[0] - ends[2]).max() > 1e-4


@pytest.mark.parametrize("restart", [True, False])
def test_the_cell_moves_in_npt_and_its_velocity_goes_along(folder, restart):
    # Without friction there is no noise either: two segments can be compared with one.
    engine = VaspEngine(barostat_mass=100.0, barostat_gamma=1e-9, langevin_gamma=1e-9)
    start = MDState(cell(800))
    npt = segment(ensemble="npt", n_steps=12, pressure=0.5, frame_every=12)
    where = folder()
    first = engine.run_segment(start, npt, where)
    assert first.failure == ""
    assert "PSTRESS = 5" in (where / "npt" / "INCAR").read_text()
    volumes = first.rows[:, 4]
    assert volumes[0] == pytest.approx(441.0)
    assert np.ptp(volumes) > 0.2
    assert first.frames[-1].get_volume() == pytest.approx(volumes[-1])
    state = first.state if restart else MDState(first.state.atoms)
    second = engine.run_segment(state, npt, folder())
    whole = engine.run_segment(start, segment(ensemble="npt", n_steps=24, pressure=0.5), folder())
    away = np.abs(second.rows[:, 1:] - whole.rows[12:, 1:]).max(axis=0)
    assert second.rows[0, 4] == pytest.approx(first.state.atoms.get_volume(), rel=1e-6)
    if restart:
        assert away[3] < 0.02
    else:
        assert away[3] > 0.1


def test_a_relaxation_goes_downhill_in_its_cell(folder):
    atoms = cell()
    run = VaspEngine().run_segment(MDState(atoms), segment(ensemble="relax", n_steps=15), folder())
    assert (run.failure, run.n_steps, run.frames, run.state.restart) == ("", 15, [], run.state.restart)
    relaxed = run.state.atoms
    np.testing.assert_allclose(relaxed.cell.array, atoms.cell.array, atol=1e-8)
    assert relaxed.get_chemical_symbols() == SYMBOLS
    assert not relaxed.get_momenta().any()
    assert np.abs(relaxed.positions - atoms.positions).max() < 2.0
    before, after = VaspEngine().single_points([atoms, relaxed], folder())
    assert after.energy < before.energy - 0.5
    assert np.abs(after.forces).max() < np.abs(before.forces).max()


def test_a_run_stopped_at_the_walltime_goes_on(vasp, folder, monkeypatch):
    whole = VaspEngine().run_segment(MDState(cell(800)), segment(), folder())
    monkeypatch.setenv("LAOC_JOB_WALLTIME", "61")
    patience = vasp_runs.Patience(poll=0.02, look=0.1, before=61.0, share=1.0)
    monkeypatch.setattr(vasp_runs, "PATIENCE", patience)
    vasp("walltime")
    stopped = VaspEngine().run_segment(MDState(cell(800)), segment(), folder())
    assert 0 < stopped.n_steps < 20
    assert (stopped.failure, stopped.log) == ("", b"")
    assert {correction.handler for correction in stopped.corrections} == {"WalltimeHandler"}
    np.testing.assert_allclose(stopped.rows, whole.rows[: stopped.n_steps], rtol=1e-9)
    monkeypatch.delenv("LAOC_JOB_WALLTIME")
    monkeypatch.setattr(vasp_runs, "PATIENCE", vasp_runs.Patience(poll=0.02, look=0.2))
    vasp()
    rest = VaspEngine().run_segment(stopped.state, segment(n_steps=20 - stopped.n_steps), folder())
    assert rest.failure == ""
    np.testing.assert_allclose(rest.rows[:, 1:], whole.rows[stopped.n_steps :, 1:], atol=2e-4)


def test_a_label_stopped_at_the_walltime_is_unconverged(vasp, folder, monkeypatch):
    monkeypatch.setenv("LAOC_JOB_WALLTIME", "61")
    patience = vasp_runs.Patience(poll=0.02, look=0.1, before=61.0, share=1.0)
    monkeypatch.setattr(vasp_runs, "PATIENCE", patience)
    vasp("walltime")
    point = label(VaspEngine(), folder())
    assert (point.status, point.reason) == (LabelStatus.UNCONVERGED, "stopped at the walltime")
    assert point.energy is None


def test_labels_that_the_job_has_no_time_for_are_not_begun(folder, monkeypatch):
    monkeypatch.setenv("LAOC_JOB_WALLTIME", "90000")
    ticks = iter([0.0, 0.0, 90_000.0])
    monkeypatch.setattr(clock, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    where = folder()
    (done,) = VaspEngine().single_points([cell(), cell()], where)
    assert done.status is LabelStatus.CONVERGED
    assert [path.name for path in where.iterdir()] == ["label-0000"]


def test_a_program_that_never_begins_is_an_error_and_no_crashed_label(folder, monkeypatch):
    monkeypatch.setenv("LAOC_VASP_COMMAND", "env no_such_vasp")
    VaspEngine().check_available()
    with pytest.raises(EngineUnavailableError, match=r"VASP has not begun: .*no_such_vasp.*left no OUTCAR"):
        label(VaspEngine(), folder())
    with pytest.raises(EngineUnavailableError, match="VASP has not begun"):
        VaspEngine().run_segment(MDState(cell(900)), Segment("nvt", 3, 1.0, 900, 900, 0.0, 1, 1), folder())


def test_a_missing_potcar_is_an_error_on_the_worker_too(folder, tmp_path, monkeypatch):
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("LAOC_VASP_POTCAR_DIR", str(tmp_path / "empty"))
    with pytest.raises(EngineUnavailableError, match="POTCAR"):
        label(VaspEngine(), folder())


def test_the_program_for_the_gamma_point_is_the_one_that_runs(folder, tmp_path, monkeypatch):
    program = os.environ["LAOC_VASP_COMMAND"]
    monkeypatch.setenv("LAOC_VASP_COMMAND", "false")
    # Its last word is on no PATH, as in a container: custodian would take the standard program.
    monkeypatch.setenv(
        "LAOC_VASP_GAMMA_COMMAND", f"sh -c 'echo ran >> {tmp_path}/log; exec {program}' vasp_gam"
    )
    assert label(VaspEngine(), folder()).status is LabelStatus.CONVERGED
    assert (tmp_path / "log").read_text() == "ran\n"


def test_a_rejected_label_keeps_its_log(vasp, folder):
    vasp("exploding")
    point = label(VaspEngine(), folder())
    assert point.status is LabelStatus.CONVERGED
    with tarfile.open(fileobj=io.BytesIO(point.log)) as archive:
        assert {"INCAR", "OSZICAR"} <= set(archive.getnames())


def test_a_corrected_label_is_the_label(vasp, folder):
    clean = label(VaspEngine(), folder())
    vasp("edddav")
    point = label(VaspEngine(), folder())
    assert point.status is LabelStatus.CONVERGED
    assert [correction.handler for correction in point.corrections] == ["VaspErrorHandler"]
    assert point.energy == pytest.approx(clean.energy, abs=1e-6)
    np.testing.assert_allclose(point.forces, clean.forces, atol=1e-6)


@pytest.mark.parametrize(
    ("fault", "status", "reason"),
    [
        (
            "hopeless_scf",
            LabelStatus.UNCONVERGED,
            "did not reach EDIFF; last found by UnconvergedErrorHandler",
        ),
        ("large_sigma", LabelStatus.REJECTED_SETTINGS, "custodian changed SIGMA"),
        ("killed", LabelStatus.CRASHED, "VasprunXMLValidator"),
        ("truncated_xml", LabelStatus.CRASHED, "VasprunXMLValidator"),
        ("permuted_atoms", LabelStatus.CRASHED, "positions of the output are not those"),
        ("species_order", LabelStatus.CRASHED, ""),
    ],
)
def test_what_is_no_label_says_why(vasp, folder, fault, status, reason):
    vasp(fault, max_fires=100)
    point = label(VaspEngine(), folder())
    assert point.status is status
    assert reason in point.reason
    assert "\n" not in point.reason
    assert (point.energy, point.forces, point.stress) == (None, None, None)
    assert point.log[:2] == b"\x1f\x8b"


def test_a_corrected_segment_begins_anew(vasp, folder):
    ramp = segment(end_temperature=400.0, frame_every=1)
    clean = VaspEngine().run_segment(MDState(cell(800)), ramp, folder())
    vasp("eddrmm")
    run = VaspEngine().run_segment(MDState(cell(800)), ramp, folder())
    assert (run.failure, run.n_steps) == ("", 20)
    assert {correction.handler for correction in run.corrections} == {
        "VaspErrorHandler",
        "SegmentStartHandler",
    }
    np.testing.assert_allclose(run.rows, clean.rows, atol=1e-4)
    np.testing.assert_allclose(run.frames[-1].positions, clean.frames[-1].positions, atol=1e-6)


def test_a_killed_segment_keeps_what_it_made(vasp, folder):
    clean = VaspEngine().run_segment(MDState(cell(800)), segment(frame_every=1), folder())
    vasp("killed", max_fires=100)
    run = VaspEngine().run_segment(MDState(cell(800)), segment(frame_every=1), folder())
    assert "VasprunXMLValidator" in run.failure
    assert 1 <= run.n_steps < 20
    np.testing.assert_allclose(run.rows, clean.rows[: run.n_steps], rtol=1e-9)
    np.testing.assert_allclose(run.state.atoms.positions, clean.frames[run.n_steps].positions, atol=1e-5)
    assert run.log


def test_steps_without_convergence_have_no_results(vasp, folder):
    vasp("hopeless_scf")
    run = VaspEngine().run_segment(MDState(cell(800)), segment(n_steps=4, frame_every=2), folder())
    assert run.n_steps == 4
    assert run.failure == "the SCF of 4 of 4 steps did not reach EDIFF"
    assert [frame.calc for frame in run.frames] == [None, None]


def test_a_state_that_is_not_its_restart_file_is_refused(folder):
    engine = VaspEngine()
    first = engine.run_segment(MDState(cell(800)), segment(n_steps=3), folder())
    atoms = first.state.atoms.copy()
    atoms.positions[0] += 0.2
    run = engine.run_segment(MDState(atoms, first.state.restart), segment(n_steps=3), folder())
    assert run.n_steps == 0
    assert "not those that were asked for" in run.failure
    np.testing.assert_array_equal(run.state.atoms.positions, atoms.positions)


def test_no_run_without_vasp(folder, monkeypatch):
    monkeypatch.setenv("LAOC_VASP_COMMAND", "vasp_that_is_not_here")
    with pytest.raises(EngineUnavailableError, match="vasp_that_is_not_here"):
        label(VaspEngine(), folder())


def test_nothing_outside_is_left_changed(folder):
    import os

    from atomate2 import SETTINGS
    from pymatgen.core import SETTINGS as PYMATGEN

    before = dict(os.environ), SETTINGS.VASP_ZIP_FILES, dict(PYMATGEN)
    label(VaspEngine(), folder())
    assert (dict(os.environ), SETTINGS.VASP_ZIP_FILES, dict(PYMATGEN)) == before
    assert "CUSTODIAN_WALLTIME_START" not in os.environ


def test_the_energy_under_a_barostat_is_no_enthalpy(folder):
    run = VaspEngine(preset="paper").run_segment(
        MDState(cell(800.0)), segment(ensemble="npt", pressure=5.0, n_steps=4, frame_every=1), folder()
    )
    assert run.failure == ""
    away = []
    for frame in run.frames:
        model = pair_model(frame.get_chemical_symbols(), frame.positions, frame.cell.array, dispersion=False)
        away.append(frame.get_potential_energy() - model.energy)
        # P V is some 14 eV here; what remains is the entropy of the electrons, the same in every step.
        assert abs(away[-1]) < 0.02 * len(frame)
    assert np.ptp(away) < 1e-3
    assert run.rows[:, 3] == pytest.approx([frame.get_potential_energy() for frame in run.frames])
