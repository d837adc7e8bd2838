"""Universal potentials and DeePMD: their forces and stresses are slopes of their energies, and LAMMPS agrees."""

import numpy as np
import pytest
from ase import units
from ase.build import bulk
from ase.calculators.fd import calculate_numerical_forces, calculate_numerical_stress

from laoc_flows.engines.deepmd import DeepmdEngine
from laoc_flows.engines.dynamics import MDState, Segment
from laoc_flows.engines.lammps_engine import LammpsEngine
from laoc_flows.engines.mlip import ChgnetEngine, MlipEngine, SevenNetEngine
from laoc_flows.errors import EngineUnavailableError
from laoc_flows.learning.train import train_model
from laoc_flows.schemas.label import LabelStatus
from laoc_flows.schemas.protocol import PairDistances, SoftCore

# Reaches the bonds, so that it acts in an ordinary frame.
CORE = SoftCore(prefactor=2.0, radii=PairDistances(distances={"Al-Cl": 2.9, "Li-Cl": 2.8, "Cl-Cl": 3.9}))
UNIVERSAL = [ChgnetEngine(device="cpu"), SevenNetEngine(device="cpu")]
pytestmark = pytest.mark.usefixtures("own_workspace")


@pytest.fixture(scope="module")
def model(labeled, toy_training, tmp_path_factory):
    files, attempts = train_model(labeled, toy_training, CORE, 1, tmp_path_factory.mktemp("model"))
    assert files is not None, attempts
    return files.model


@pytest.fixture(scope="module")
def distorted(lialcl4):
    """The crystal, shaken and sheared: 24 atoms, no symmetry left."""
    atoms = lialcl4.copy()
    atoms.rattle(0.1, seed=3)
    atoms.set_cell(
        atoms.cell.array @ [[1.0, 0.03, 0.01], [0.0, 0.97, 0.02], [0.0, 0.0, 1.02]], scale_atoms=True
    )
    return atoms


def slopes(atoms, calculator, which, *, step, strain):
    """Forces of some atoms [eV/A] and stress [eV/A^3] by central differences of the energy."""
    atoms = atoms.copy()
    atoms.calc = calculator
    forces = calculate_numerical_forces(atoms, eps=step, iatoms=which)
    return forces, calculate_numerical_stress(atoms, eps=strain, force_consistent=False)


@pytest.mark.parametrize("engine", UNIVERSAL, ids=lambda engine: engine.name)
def test_forces_and_stress_of_a_universal_potential_are_slopes_and_nothing_is_printed(
    engine, distorted, tmp_path, capfd, recwarn
):
    (point,) = engine.single_points([distorted], tmp_path)
    assert point.status is LabelStatus.CONVERGED
    said = capfd.readouterr()
    assert (said.out, said.err) == ("", "")
    assert not [
        warning for warning in recwarn if "torch" in str(warning.message) or "tensor" in str(warning.message)
    ]
    # Single precision: the energy is exact to some 1e-5 eV, so the steps are large.
    forces, stress = slopes(distorted, engine.calculator(), [0, 9, 17], step=0.01, strain=2e-3)
    assert np.abs(point.forces).max() > 0.5
    np.testing.assert_allclose(point.forces[[0, 9, 17]], forces, atol=0.01)
    assert np.abs(point.stress).max() > 3e-3
    np.testing.assert_allclose(point.stress, stress, atol=2e-4)
    assert point.forces.dtype == point.stress.dtype == np.float64


@pytest.mark.parametrize("engine", UNIVERSAL, ids=lambda engine: engine.name)
def test_a_universal_potential_under_pressure_pushes_back(engine, lialcl4, tmp_path):
    squeezed = lialcl4.copy()
    squeezed.set_cell(lialcl4.cell.array * 0.94, scale_atoms=True)
    asked = Segment("npt", 60, 2.0, 300.0, 300.0, 0.0, 20, 1)
    run = engine.run_segment(MDState(squeezed), asked, tmp_path)
    assert not run.failure
    assert run.rows[0, 2] > 2.0
    assert run.rows[-1, 4] > 1.05 * squeezed.get_volume()
    assert [frame.get_volume() for frame in run.frames] == pytest.approx(run.rows[[19, 39, 59], 4])
    (again,) = engine.single_points(run.frames[-1:], tmp_path)
    assert run.frames[-1].get_potential_energy() == pytest.approx(again.energy, abs=1e-3)
    np.testing.assert_allclose(run.frames[-1].get_forces(), again.forces, atol=2e-3)
    ideal = 24 * units.kB * run.rows[-1, 1] / run.rows[-1, 4]
    assert run.rows[-1, 2] == pytest.approx((ideal - again.stress[:3].mean()) / units.GPa, abs=0.02)


def test_a_potential_by_name_and_by_import_path_is_the_same(distorted, tmp_path):
    engines = [
        SevenNetEngine(device="cpu"),
        MlipEngine(model="SevenNet", device="cpu"),
        MlipEngine(model="sevenn.calculator:SevenNetCalculator", kwargs={"model": "7net-0"}, device="cpu"),
    ]
    energies = [next(engine.single_points([distorted], tmp_path)).energy for engine in engines]
    assert energies == pytest.approx([energies[0]] * 3, abs=1e-4)
    assert len({engine.level_of_theory for engine in engines}) == 3
    other = SevenNetEngine(model="7net-l3i5", device="cpu")
    assert abs(next(other.single_points([distorted], tmp_path)).energy - energies[0]) > 0.01


def test_deepmd_forces_and_stress_are_slopes_and_lammps_agrees(frame, model, tmp_path):
    moved = frame.copy()
    moved.set_cell(
        frame.cell.array @ [[1.0, 0.04, 0.0], [0.0, 1.02, 0.03], [0.0, 0.0, 0.99]], scale_atoms=True
    )
    with_core, bare = DeepmdEngine(model=str(model), soft_core=CORE), DeepmdEngine(model=str(model))
    points = list(with_core.single_points([frame, moved], tmp_path))
    forces, stress = slopes(moved, with_core.calculator(), [0, 3, 7], step=1e-4, strain=1e-5)
    np.testing.assert_allclose(points[1].forces[[0, 3, 7]], forces, atol=1e-4)
    np.testing.assert_allclose(points[1].stress, stress, atol=1e-5)
    # hybrid/overlay deepmd soft
    peer = LammpsEngine(model=model, soft_core=CORE, identity="peer")
    for ours, theirs in zip(points, peer.single_points([frame, moved], tmp_path), strict=True):
        assert theirs.status is LabelStatus.CONVERGED, theirs.reason
        assert ours.energy == pytest.approx(theirs.energy, abs=1e-5)
        np.testing.assert_allclose(ours.forces, theirs.forces, atol=1e-5)
        np.testing.assert_allclose(ours.stress, theirs.stress, atol=1e-6)
    (without,) = bare.single_points([frame], tmp_path)
    assert points[0].energy - without.energy > 1.0
    assert with_core.level_of_theory.startswith(bare.level_of_theory.removesuffix("/r1"))


def test_deepmd_refuses_species_that_it_was_not_trained_on(frame, model, tmp_path):
    salt = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    refused, computed = DeepmdEngine(model=str(model)).single_points([salt, frame], tmp_path)
    assert refused.status is LabelStatus.CRASHED
    assert refused.reason == "deepmd does not know Na"
    assert computed.status is LabelStatus.CONVERGED
    run = DeepmdEngine(model=str(model)).run_segment(
        MDState(salt), Segment("nvt", 5, 1.0, 300.0, 300.0, 0.0, 1, 1), tmp_path
    )
    assert run.failure == "step 1: deepmd does not know Na"


def test_a_file_that_is_no_potential_is_named(tmp_path):
    path = tmp_path / "text.pb"
    path.write_text("not a graph")
    with pytest.raises(EngineUnavailableError, match=r"text\.pb"):
        DeepmdEngine(model=str(path)).calculator()
