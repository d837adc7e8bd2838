"""ASE engines on systems whose thermodynamics are known exactly: springs, an ideal gas, soft spheres."""

from typing import Literal

import numpy as np
import pytest
from ase import Atoms, units
from ase.calculators.calculator import CalculationFailed, Calculator
from pydantic import ValidationError

from laoc_flows.analysis import block_average
from laoc_flows.engines import ase as ase_engines
from laoc_flows.engines.ase import AseEngine
from laoc_flows.engines.deepmd import DeepmdEngine, SoftCoreCalculator
from laoc_flows.engines.dynamics import ROW_COLUMNS, MDState, Segment
from laoc_flows.engines.labels import total_pressure
from laoc_flows.engines.mlip import ChgnetEngine, MlipEngine, SevenNetEngine
from laoc_flows.engines.registry import parse_engine
from laoc_flows.engines.xtb import XtbEngine
from laoc_flows.errors import EngineUnavailableError
from laoc_flows.learning.core import core_results
from laoc_flows.schemas.label import LabelStatus
from laoc_flows.schemas.protocol import PairDistances, SoftCore
from laoc_flows.settings import Settings

STEP, TEMPERATURE, PRESSURE, ENERGY, VOLUME = range(len(ROW_COLUMNS))


class Analytic(Calculator):
    """A calculator that is asked often and answers fast."""

    implemented_properties = ("energy", "forces", "stress")

    def check_state(self, atoms, tol=1e-15):  # noqa: ARG002
        if self.atoms is None:
            return ["positions", "cell"]
        same = np.array_equal(self.atoms.positions, atoms.positions)
        return (
            [] if same and np.array_equal(self.atoms.cell.array, atoms.cell.array) else ["positions", "cell"]
        )

    def calculate(self, atoms=None, properties=None, system_changes=()):
        super().calculate(atoms, properties, system_changes)
        energy, forces, stress = self.compute(self.atoms)
        self.results = {"energy": energy, "forces": forces, "stress": stress}


class Springs(Analytic):
    """Every ion on its own spring: half of kT in every degree of freedom, moving or not."""

    def __init__(self, sites, constant=5.0):
        super().__init__()
        self.sites, self.constant = sites, constant

    def compute(self, atoms):
        moved = atoms.positions - self.sites
        return 0.5 * self.constant * (moved**2).sum(), -self.constant * moved, np.zeros(6)


class IdealGas(Analytic):
    def compute(self, atoms):
        return 0.0, np.zeros((len(atoms), 3)), np.zeros(6)


class SoftSpheres(Analytic):
    """``E = sum (2 A / r)^12 eV`` over nearest images in a cube; its virial is four times its energy."""

    def compute(self, atoms):
        edge = atoms.cell[0, 0]
        vector = atoms.positions[:, None] - atoms.positions[None]
        vector -= edge * np.round(vector / edge)
        square = (vector**2).sum(axis=2)
        np.fill_diagonal(square, np.inf)
        pair = (4.0 / square) ** 6
        push = (12.0 * pair / square)[:, :, None] * vector
        virial = 0.5 * np.einsum("ija,ijb->ab", push, vector)
        stress = -virial / edge**3
        return 0.5 * pair.sum(), push.sum(axis=1), stress[[0, 1, 2, 1, 0, 0], [0, 1, 2, 2, 2, 1]]


class Failing(SoftSpheres):
    """Fails at its n-th calculation, with an exception or a number that is none."""

    def __init__(self, at, message):
        super().__init__()
        self.at, self.message, self.count = at, message, 0

    def compute(self, atoms):
        self.count += 1
        energy, forces, stress = super().compute(atoms)
        if self.count == self.at:
            if self.message is None:
                return np.nan, forces, stress
            raise CalculationFailed(self.message)
        return energy, forces, stress


class Toy(AseEngine):
    """An engine around a function that makes calculators."""

    name: Literal["toy"] = "toy"
    make: object

    @property
    def level_of_theory(self):
        return "toy"

    def calculator(self):
        return self.make()


def ions(n_side=2, spacing=3.0):
    """LiCl in the rock salt arrangement, ``n_side**3`` ions in a cube."""
    grid = np.array([(i, j, k) for i in range(n_side) for j in range(n_side) for k in range(n_side)])
    symbols = ["Li" if sum(site) % 2 else "Cl" for site in grid]
    return Atoms(symbols, positions=grid * spacing, cell=[n_side * spacing] * 3, pbc=True)


def segment(ensemble="nvt", n_steps=100, temperature=300.0, **more):
    values = {
        "time_step": 2.0,
        "start_temperature": temperature,
        "end_temperature": temperature,
        "pressure": 0.0,
        "frame_every": 10,
        "seed": 11,
    }
    return Segment(ensemble=ensemble, n_steps=n_steps, **{**values, **more})


def agrees(series, expected, factor=3.5):
    found = block_average(np.asarray(series), "")
    assert found.standard_error < 0.05 * abs(expected)
    assert abs(found.value - expected) < factor * found.standard_error
    return found


@pytest.fixture
def springs():
    atoms = ions()
    return atoms, Toy(make=lambda: Springs(atoms.positions.copy()))


def test_nvt_has_the_equipartition_of_its_degrees_of_freedom(springs, tmp_path):
    atoms, engine = springs
    asked = segment(n_steps=9000, temperature=600.0, time_step=4.0)
    rows = engine.run_segment(MDState(atoms), asked, tmp_path).rows[500:]
    agrees(rows[:, TEMPERATURE], 600.0)
    # The center of mass is at rest and stays where it is: 3 N - 3 degrees of freedom on both sides.
    agrees(rows[:, ENERGY], (3 * len(atoms) - 3) / 2 * units.kB * 600.0)


@pytest.mark.parametrize("thermostat", ["sample", "measure"])
def test_nvt_has_the_temperature_and_its_fluctuation(thermostat, tmp_path):
    asked = segment(n_steps=9000, temperature=600.0, time_step=4.0, thermostat=thermostat)
    run = Toy(make=SoftSpheres).run_segment(MDState(ions(2, 2.6)), asked, tmp_path)
    rows = run.rows[500:]
    agrees(rows[:, TEMPERATURE], 600.0)
    spread = rows[:, TEMPERATURE].std() / 600.0
    assert spread == pytest.approx(np.sqrt(2 / (3 * 8 - 3)), rel=0.1)
    assert np.abs(run.state.atoms.get_momenta().sum(axis=0)).max() < 1e-10


@pytest.mark.parametrize("thermostat", ["sample", "measure"])
def test_npt_of_an_ideal_gas_has_its_volume_and_its_fluctuation(thermostat, tmp_path):
    atoms = ions()
    n, unit = len(atoms), units.kB * 1000.0 / (10.0 * units.GPa)
    atoms.set_cell([(n * unit) ** (1 / 3)] * 3, scale_atoms=True)
    asked = segment("npt", 14000, 1000.0, pressure=10.0, time_step=4.0, thermostat=thermostat, seed=3)
    run = Toy(make=IdealGas).run_segment(MDState(atoms), asked, tmp_path)
    volume = run.rows[1000:, VOLUME] / unit
    # V^(N-1) or V^N in the partition function: <V> is N or N + 1 times kT / P, and so is its variance.
    found = block_average(volume, "")
    assert n - 3 * found.standard_error < found.value < n + 1 + 3 * found.standard_error
    assert found.standard_error < 0.7
    assert n * 0.7 < volume.var() < (n + 1) * 1.4
    np.testing.assert_allclose(
        run.rows[:, PRESSURE], n * units.kB * run.rows[:, TEMPERATURE] / run.rows[:, VOLUME] / units.GPa
    )


@pytest.mark.parametrize(("scale", "thermostat"), [(0.75, "sample"), (1.3, "sample"), (1.0, "measure")])
def test_npt_comes_to_the_total_pressure_that_is_asked_for(scale, thermostat, tmp_path):
    atoms = ions(3)
    atoms.set_cell(atoms.cell.array * scale, scale_atoms=True)
    # Its start is at up to 180 GPa.
    asked = segment("npt", 9000, 1200.0, pressure=5.0, thermostat=thermostat)
    run = Toy(make=SoftSpheres).run_segment(MDState(atoms), asked, tmp_path)
    assert not run.failure
    rows = run.rows[2500:]
    agrees(rows[:, PRESSURE], 5.0)
    agrees(rows[:, TEMPERATURE], 1200.0)
    # Away from the start by no more than a breath: the piston does not ring.
    assert rows[:, VOLUME].std() / rows[:, VOLUME].mean() < 0.1
    cell = run.state.atoms.cell.array
    np.testing.assert_allclose(cell, cell[0, 0] * np.eye(3), atol=1e-9)


@pytest.mark.parametrize("ensemble", ["nvt", "npt"])
def test_a_ramp_reaches_its_end_temperature(ensemble, tmp_path):
    asked = segment(ensemble, 6000, 1500.0, end_temperature=300.0, pressure=5.0)
    run = Toy(make=SoftSpheres).run_segment(MDState(ions(3)), asked, tmp_path)
    targets = np.array([asked.temperature_after(step) for step in range(1, 6001)])
    assert targets[-1] == 300.0
    ratio = run.rows[:, TEMPERATURE] / targets
    agrees(ratio[-1500:], 1.0)
    slope = np.polyfit(run.rows[:, STEP], run.rows[:, TEMPERATURE], 1)[0]
    assert slope == pytest.approx(-1200.0 / 6000, rel=0.06)


@pytest.mark.parametrize(
    "kind", [("nvt", "sample"), ("nvt", "measure"), ("npt", "sample"), ("npt", "measure")]
)
def test_the_same_seed_gives_the_same_run_and_another_one_does_not(kind, tmp_path):
    def run(seed):
        asked = segment(kind[0], 30, 500.0, pressure=5.0, thermostat=kind[1], seed=seed)
        return Toy(make=SoftSpheres).run_segment(MDState(ions()), asked, tmp_path)

    first, again, other = run(1), run(1), run(2)
    np.testing.assert_array_equal(first.rows, again.rows)
    np.testing.assert_array_equal(first.state.atoms.positions, again.state.atoms.positions)
    assert np.abs(first.rows - other.rows).max() > 1.0


@pytest.mark.parametrize(
    "kind", [("nvt", "sample"), ("nvt", "measure"), ("npt", "sample"), ("npt", "measure")]
)
def test_a_run_that_is_cut_in_two_is_the_run_in_one_piece(kind, tmp_path, monkeypatch):
    # One stream of random numbers for both pieces: what is left to be carried is positions, momenta, the cell, the
    # momentum of the piston and the ramp.
    def run(pieces):
        stream = np.random.default_rng(5)
        monkeypatch.setattr(ase_engines, "_generator", lambda _: stream)
        state, rows, start = MDState(ions()), [], 900.0
        for n_steps in pieces:
            end = start - 4.0 * n_steps
            asked = segment(kind[0], n_steps, start, end_temperature=end, pressure=5.0, thermostat=kind[1])
            done = Toy(make=SoftSpheres).run_segment(state, asked, tmp_path)
            # Through the bytes that go from job to job.
            state, start = MDState.unpack(done.state.pack()), end
            rows.append(done.rows)
        return np.concatenate(rows), state

    (whole, end), (parts, cut) = run([60]), run([25, 35])
    np.testing.assert_allclose(parts[:, 1:], whole[:, 1:], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(cut.atoms.positions, end.atoms.positions, atol=1e-9)
    np.testing.assert_allclose(cut.atoms.get_momenta(), end.atoms.get_momenta(), atol=1e-9)
    assert (len(cut.restart) > 0) == (kind[0] == "npt")


@pytest.mark.parametrize("thermostat", ["sample", "measure"])
def test_velocities_go_on_over_a_cut_with_another_seed(springs, thermostat, tmp_path):
    atoms, engine = springs
    asked = segment(n_steps=200, thermostat=thermostat, frame_every=1, time_step=0.2)
    first = engine.run_segment(MDState(atoms), asked, tmp_path)
    more = segment(n_steps=200, thermostat=thermostat, frame_every=1, time_step=0.2, seed=99)
    second = engine.run_segment(first.state, more, tmp_path)
    np.testing.assert_array_equal(first.frames[-1].positions, first.state.atoms.positions)
    before, after = first.state.atoms.get_velocities().ravel(), second.frames[0].get_velocities().ravel()
    assert np.corrcoef(before, after)[0, 1] > 0.98
    # New velocities would be another sample: their correlation with the old ones is near zero.
    moved = (second.frames[0].positions - first.state.atoms.positions).ravel()
    np.testing.assert_allclose(moved, 0.2 * units.fs * before, atol=0.2 * np.abs(moved).max())


def test_each_frame_carries_the_numbers_of_exactly_its_positions(tmp_path):
    run = Toy(make=SoftSpheres).run_segment(
        MDState(ions()), segment("npt", 45, 800.0, pressure=5.0), tmp_path
    )
    assert run.frame_steps == [10, 20, 30, 40]
    assert run.rows[:, STEP].tolist() == list(range(1, 46))
    for frame, step in zip(run.frames, run.frame_steps, strict=True):
        energy, forces, stress = SoftSpheres().compute(frame)
        row = run.rows[step - 1]
        assert frame.get_potential_energy() == pytest.approx(energy, rel=1e-12)
        np.testing.assert_allclose(frame.get_forces(), forces, atol=1e-12)
        np.testing.assert_allclose(frame.get_stress(), stress, atol=1e-12)
        assert row[ENERGY] == pytest.approx(energy)
        assert row[VOLUME] == pytest.approx(frame.get_volume())
        kinetic = 2 * frame.get_kinetic_energy() / (3 * len(frame) - 3) / units.kB
        assert row[TEMPERATURE] == pytest.approx(kinetic)
        assert row[PRESSURE] == pytest.approx(total_pressure(stress, len(frame), frame.get_volume(), kinetic))
        assert not frame.constraints


def test_the_pressure_of_a_row_is_the_slope_of_the_energy_and_the_ideal_gas(tmp_path):
    run = Toy(make=SoftSpheres).run_segment(MDState(ions()), segment(n_steps=10), tmp_path)
    frame, row = run.frames[0], run.rows[9]
    energies = []
    for factor in (1.001, 0.999):
        strained = frame.copy()
        strained.set_cell(frame.cell.array * factor ** (1 / 3), scale_atoms=True)
        energies.append(SoftSpheres().compute(strained)[0])
    slope = -(energies[0] - energies[1]) / (0.002 * frame.get_volume()) / units.GPa
    ideal = len(frame) * units.kB * row[TEMPERATURE] / frame.get_volume() / units.GPa
    assert slope > 0.1
    assert row[PRESSURE] == pytest.approx(slope + ideal, rel=1e-4)


def test_positions_are_unwrapped_over_the_cell(tmp_path):
    atoms = ions(2, 2.0)
    asked = segment(n_steps=300, temperature=2000.0, thermostat="measure", frame_every=1)
    run = Toy(make=IdealGas).run_segment(MDState(atoms), asked, tmp_path)
    path = np.array([atoms.positions, *(frame.positions for frame in run.frames)])
    assert np.abs(path).max() > 2 * 4.0
    assert np.abs(np.diff(path, axis=0)).max() < 1.0


@pytest.mark.parametrize("message", ["the SCF exploded", None])
@pytest.mark.parametrize("ensemble", ["relax", "nvt", "npt"])
def test_a_step_that_fails_ends_the_segment_and_keeps_what_was_made(ensemble, message, tmp_path):
    def engine(at):
        return Toy(make=lambda: Failing(at, message))

    start = ions(2, 2.4)
    start.rattle(0.1, seed=2)
    asked = segment(ensemble, 40, 400.0, pressure=5.0)
    whole = engine(0).run_segment(MDState(start), asked, tmp_path)
    assert not whole.failure
    cut = engine(26).run_segment(MDState(start), asked, tmp_path)
    # The first calculation is that of the start.
    assert cut.n_steps == len(cut.rows) == 24
    assert cut.failure.startswith("step 25: ")
    assert (message or "not finite") in cut.failure
    assert cut.frame_steps == [10, 20]
    np.testing.assert_array_equal(cut.rows, whole.rows[:24])
    assert SoftSpheres().compute(cut.state.atoms)[0] == pytest.approx(cut.rows[-1, ENERGY])


def test_a_run_that_cannot_begin_is_a_failure_and_not_an_exception(tmp_path):
    run = Toy(make=lambda: Failing(1, "no such element")).run_segment(MDState(ions()), segment(), tmp_path)
    assert (run.n_steps, run.frames, run.rows.shape) == (0, [], (0, 5))
    assert run.failure == "step 1: no such element"
    np.testing.assert_array_equal(run.state.atoms.positions, ions().positions)


def test_a_cell_that_runs_away_is_stopped(tmp_path):
    class Heating(SoftSpheres):
        def compute(self, atoms):
            energy, forces, stress = super().compute(atoms)
            return energy, 50.0 * forces, stress

    asked = segment(n_steps=4000, thermostat="measure", time_step=4.0)
    run = Toy(make=Heating).run_segment(MDState(ions(3, 2.6)), asked, tmp_path)
    assert "ran away" in run.failure
    assert 0 < run.n_steps < 4000
    assert run.rows[:, TEMPERATURE].max() < 5 * 300.0


def test_a_hot_cell_may_be_given_to_a_cold_thermostat(tmp_path):
    hot = Toy(make=SoftSpheres).run_segment(MDState(ions()), segment(temperature=2000.0), tmp_path)
    cold = Toy(make=SoftSpheres).run_segment(hot.state, segment(temperature=200.0), tmp_path)
    assert not cold.failure
    assert cold.rows[0, TEMPERATURE] > 5 * 200.0


def test_relaxation_finds_the_minimum_and_ends_there(springs, tmp_path):
    atoms, engine = springs
    moved = atoms.copy()
    moved.rattle(0.2, seed=4)
    moved.positions += atoms.get_center_of_mass() - moved.get_center_of_mass()
    run = engine.run_segment(MDState(moved), segment("relax", 400), tmp_path)
    assert run.n_steps == len(run.rows) < 400
    assert run.rows[-1, ENERGY] < 1e-2 * run.rows[0, ENERGY]
    assert np.abs(run.state.atoms.positions - atoms.positions).max() < 0.02
    assert not run.rows[:, TEMPERATURE].any()
    np.testing.assert_array_equal(run.state.atoms.cell.array, atoms.cell.array)
    # FIRE's steps are limited: a bad start does not fly apart.
    assert np.abs(run.frames[0].positions - moved.positions).max() < 10 * 0.1 if run.frames else True


def test_a_segment_stops_at_its_time_limit_without_a_failure(tmp_path, monkeypatch):
    monkeypatch.setattr(Settings, "load", classmethod(lambda cls: cls.model_construct(job_walltime=1e-9)))
    run = Toy(make=SoftSpheres).run_segment(MDState(ions()), segment(), tmp_path)
    assert (run.n_steps, run.failure) == (1, "")


def test_single_points_are_typed_and_one_that_fails_does_not_spoil_the_next(tmp_path):
    made = []

    class Code(SoftSpheres):
        def __init__(self):
            super().__init__()
            made.append(self)
            self.spoiled = False

        def compute(self, atoms):
            if self.spoiled:
                pytest.fail("a calculator that has failed was used again")
            energy, forces, stress = super().compute(atoms)
            self.spoiled = atoms.info.get("fails") is not None
            fate = {
                0.5: CalculationFailed("SCF not converged in 300 cycles"),
                0.6: RuntimeError("segmentation\n fault"),
            }
            shift = round(float(atoms.positions[0, 0]), 6)
            if shift in fate:
                self.spoiled = True
                raise fate[shift]
            return (np.inf if shift == 0.7 else energy), forces, stress

    frames = []
    for shift in (0.0, 0.1, 0.5, 0.6, 0.7, 0.2):
        frame = ions()
        frame.positions[0, 0] = shift
        frames.append(frame)
    points = list(Toy(make=Code).single_points(frames, tmp_path))
    assert [point.status for point in points] == [
        LabelStatus.CONVERGED,
        LabelStatus.CONVERGED,
        LabelStatus.UNCONVERGED,
        LabelStatus.CRASHED,
        LabelStatus.CRASHED,
        LabelStatus.CONVERGED,
    ]
    assert points[2].reason == "SCF not converged in 300 cycles"
    assert points[3].reason == "segmentation fault"
    assert "finite" in points[4].reason
    assert [point.energy is None for point in points] == [False, False, True, True, True, False]
    energy, forces, stress = SoftSpheres().compute(frames[5])
    assert points[5].energy == pytest.approx(energy)
    np.testing.assert_allclose(points[5].forces, forces)
    np.testing.assert_allclose(points[5].stress, stress)
    assert len(made) == 4


@pytest.mark.parametrize("radii", [{"Al-Cl": 2.6, "Li-O": 2.2}, {"Li-Cl": 5.5, "Cl-Cl": 4.7, "Al-Al": 6.1}])
def test_the_soft_core_is_that_of_the_training_and_its_forces_are_slopes(radii):
    core = SoftCore(prefactor=13.0, radii=PairDistances(distances=radii))
    rng = np.random.default_rng(8)
    cell = [[5.1, 0, 0], [0.8, 4.7, 0], [-0.5, 0.6, 5.4]]
    atoms = Atoms("Li2Al2OCl4", scaled_positions=rng.random((9, 3)), cell=cell, pbc=True)
    atoms.calc = SoftCoreCalculator(core)
    energy, forces, virial = core_results(atoms, core)
    assert energy > 1.0
    assert atoms.get_potential_energy() == pytest.approx(energy, rel=1e-12)
    np.testing.assert_allclose(atoms.get_forces(), forces, atol=1e-10)
    np.testing.assert_allclose(atoms.get_stress(voigt=False), -virial / atoms.get_volume(), atol=1e-10)
    from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress

    np.testing.assert_allclose(atoms.get_forces(), calculate_numerical_forces(atoms, eps=1e-5), atol=1e-5)
    np.testing.assert_allclose(atoms.get_stress(), calculate_numerical_stress(atoms, eps=1e-6), atol=1e-5)


def test_engines_come_back_from_the_names_in_the_campaign_file(tmp_path):
    for name, cls in {"xtb": XtbEngine, "chgnet": ChgnetEngine, "sevennet": SevenNetEngine}.items():
        assert type(parse_engine({"name": name})) is cls
    assert type(parse_engine({"name": "mlip", "model": "MACE-MP-0"})) is MlipEngine
    engine = parse_engine({"name": "deepmd", "model": str(tmp_path / "m.pb"), "soft_core": {"prefactor": 3}})
    assert type(engine) is DeepmdEngine
    for each in (engine, XtbEngine(), MlipEngine(model="a.b:C", kwargs={"x": [1]})):
        assert parse_engine(each.model_dump(mode="json")) == each


def test_levels_of_theory_name_model_functional_and_package(tmp_path):
    assert XtbEngine().level_of_theory == "tblite/GFN1-xTB/accuracy=1/Te=300K/r1"
    assert ChgnetEngine().level_of_theory.startswith("chgnet/r2scan/r2SCAN-MP/pkg=0.")
    assert "PBE(+U)" in ChgnetEngine(model="0.3.0").level_of_theory
    assert SevenNetEngine().level_of_theory.startswith("sevennet/7net-0/PBE(+U)-MP/pkg=0.")
    weights = tmp_path / "weights"
    levels = set()
    for content in (b"one", b"two"):
        weights.write_bytes(content)
        engine = MlipEngine(
            model="chgnet.model.dynamics:CHGNetCalculator", weights=str(weights), functional="PBE"
        )
        levels.add(engine.level_of_theory)
        levels.add(engine.model_copy(update={"kwargs": {"a": 1}}).level_of_theory)
        levels.add(DeepmdEngine(model=str(weights)).level_of_theory)
        levels.add(DeepmdEngine(model=str(weights), soft_core=SoftCore()).level_of_theory)
    assert len(levels) == 8
    # sha256 of "two"
    assert "deepmd/3fc4ccfe745870e2/r1" in levels


def test_what_is_missing_is_named_with_its_remedy(tmp_path, monkeypatch):
    with pytest.raises(EngineUnavailableError, match=r"mace-torch.*pip install mace-torch"):
        MlipEngine(model="MACE-MP-0").check_available()
    with pytest.raises(EngineUnavailableError, match="nowhere"):
        _ = MlipEngine(model="nowhere.at_all:Calculator").level_of_theory
    with pytest.raises(EngineUnavailableError, match=r"cannot load its potential.*NoSuchClass"):
        MlipEngine(model="chgnet.model.dynamics:NoSuchClass").calculator()
    with pytest.raises(EngineUnavailableError, match=r"gone\.pb"):
        DeepmdEngine(model=str(tmp_path / "gone.pb")).check_available()
    with pytest.raises(EngineUnavailableError, match=r"gone\.pb"):
        MlipEngine(
            model="chgnet.model.dynamics:CHGNetCalculator", weights=str(tmp_path / "gone.pb")
        ).check_available()
    with pytest.raises(ValidationError, match="MACE-MP-0"):
        MlipEngine(model="MACE-MP-00")
    monkeypatch.setattr("laoc_flows.engines.mlip.version", _nothing_installed)
    for engine in (ChgnetEngine(), SevenNetEngine()):
        with pytest.raises(EngineUnavailableError, match=r"pip install 'laoc-flows\[mlip\]'"):
            engine.check_available()


def _nothing_installed(package):
    from importlib.metadata import PackageNotFoundError

    raise PackageNotFoundError(package)
