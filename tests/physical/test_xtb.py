"""GFN1-xTB: forces and stress against finite differences of the energy, pressure against the ideal gas."""

import numpy as np
import pytest
from ase import Atoms, units
from ase.stress import voigt_6_to_full_3x3_stress

from laoc_flows.engines.labels import outcome_of, too_close, total_pressure
from laoc_flows.engines.xtb import XtbEngine
from laoc_flows.schemas.label import LabelStatus
from laoc_flows.schemas.protocol import DISTANCE_FLOOR, LabelLimits


@pytest.fixture(scope="module")
def engine():
    # Tight, so that the finite differences are of the energy and not of the SCF's noise.
    return XtbEngine(accuracy=0.01)


@pytest.fixture(scope="module")
def cell():
    """Eight distorted ions in a triclinic cell: an AlOCl3 unit, LiCl and a Cl that bridges."""
    positions = [
        [0.2, 0, 0.1],
        [2.9, 0.3, 0],
        [-0.3, 1.75, 0.2],
        [-1.4, -1.3, 1.1],
        [0.1, -0.9, -1.9],
        [3.2, 3.0, 2.0],
        [5.2, 2.2, 3.1],
    ]
    symbols = ["Al", "Li", "O", "Cl", "Cl", "Li", "Cl"]
    return Atoms(symbols, positions, cell=[[7.2, 0, 0], [0.7, 6.9, 0], [-0.4, 0.5, 7.4]], pbc=True)


def energy(engine, atoms):
    atoms = atoms.copy()
    atoms.calc = engine.calculator()
    return atoms.get_potential_energy()


@pytest.fixture(scope="module")
def point(engine, cell, tmp_path_factory):
    (found,) = engine.single_points([cell], tmp_path_factory.mktemp("point"))
    return found


def test_forces_are_the_slope_of_the_energy(engine, cell, point):
    assert point.status is LabelStatus.CONVERGED
    step = 2e-3
    for atom, axis in ((0, 0), (2, 1), (5, 2)):
        ends = []
        for sign in (1, -1):
            moved = cell.copy()
            moved.positions[atom, axis] += sign * step
            ends.append(energy(engine, moved))
        slope = -(ends[0] - ends[1]) / (2 * step)
        assert point.forces[atom, axis] == pytest.approx(slope, abs=2e-3)
    np.testing.assert_allclose(point.forces.sum(axis=0), 0, atol=1e-4)


@pytest.mark.parametrize(("i", "j"), [(0, 0), (2, 2), (0, 1), (1, 2)])
def test_stress_is_the_slope_of_the_energy_per_volume_and_positive_under_tension(engine, cell, point, i, j):
    step = 2e-3
    ends = []
    for sign in (1, -1):
        strain = np.eye(3)
        strain[i, j] += sign * step / 2
        strain[j, i] += sign * step / 2
        strained = cell.copy()
        strained.set_cell(cell.cell.array @ strain, scale_atoms=True)
        ends.append(energy(engine, strained))
    slope = (ends[0] - ends[1]) / (2 * step) / cell.get_volume()
    assert voigt_6_to_full_3x3_stress(point.stress)[i, j] == pytest.approx(slope, abs=2e-5)


def test_total_pressure_has_the_ideal_gas_term():
    # One mole at 273.15 K in 22.414 L exerts 101325 Pa.
    n, volume = 1000, 22.413969545e-3 / 6.02214076e23 * 1e30 * 1000
    assert total_pressure(np.zeros(6), n, volume, 273.15) == pytest.approx(101325e-9, rel=1e-6)
    squeezed = np.array([-1.0, -2.0, -3.0, 9.0, 9.0, 9.0]) * units.GPa
    assert total_pressure(squeezed, n, volume, 273.15) == pytest.approx(2.0 + 101325e-9, rel=1e-6)
    assert total_pressure(np.diag(squeezed[:3]), n, volume, 273.15) == pytest.approx(
        2.0 + 101325e-9, rel=1e-6
    )


def test_label_carries_the_pressure_of_its_temperature(engine, cell, point):
    level, limits = engine.level_of_theory, LabelLimits()
    cold, labeled, _ = outcome_of(cell, point, level, limits, temperature=1e-9)
    hot, *_ = outcome_of(cell, point, level, limits, temperature=1500.0)
    ideal = len(cell) * units.kB * 1500.0 / cell.get_volume() / units.GPa
    assert hot.pressure - cold.pressure == pytest.approx(ideal, rel=1e-6)
    assert cold.pressure == pytest.approx(-labeled.get_stress()[:3].mean() / units.GPa, rel=1e-6)


def test_an_unconverged_label_is_typed_and_has_no_number(cell, tmp_path):
    point, again = XtbEngine(max_iterations=2).single_points([cell, cell], tmp_path)
    assert point.status is again.status is LabelStatus.UNCONVERGED
    assert "not converged" in point.reason
    assert point.energy is point.forces is point.stress is None


def test_a_frame_that_cannot_be_computed_leaves_the_next_one_alone(engine, cell, point, tmp_path):
    strange = cell.copy()
    strange.symbols[0] = "U"
    bad, after = engine.single_points([strange, cell], tmp_path)
    assert bad.status is LabelStatus.CRASHED
    assert bad.reason
    assert after.energy == pytest.approx(point.energy, abs=1e-7)
    np.testing.assert_allclose(after.forces, point.forces, atol=1e-6)


def test_a_collapsed_frame_is_not_worth_a_calculation(cell):
    collapsed = cell.copy()
    collapsed.positions[2] = collapsed.positions[0] + [0, 0, 0.9]
    refused = too_close(collapsed, DISTANCE_FLOOR.distances)
    assert refused.status is LabelStatus.REJECTED_DISTANCE
    assert "Al-O 0.90 A" in refused.reason or "O-Al 0.90 A" in refused.reason
    assert too_close(cell, DISTANCE_FLOOR.distances) is None


def test_accuracy_100_moves_forces_by_some_mev_only(cell, point, tmp_path):
    (loose,) = XtbEngine(accuracy=100).single_points([cell], tmp_path)
    assert 0 < np.abs(point.forces - loose.forces).max() < 0.02
    assert np.abs(point.forces).max() > 1.0


def test_level_of_theory_names_what_changes_the_numbers():
    assert XtbEngine(accuracy=100).level_of_theory != XtbEngine().level_of_theory
    assert XtbEngine(electronic_temperature=1000).level_of_theory != XtbEngine().level_of_theory
    assert XtbEngine(max_iterations=50).level_of_theory == XtbEngine().level_of_theory
