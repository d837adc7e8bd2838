"""What is taken of an exploration that leaves physics, and what it goes on from."""

import numpy as np
import pytest
from ase import Atoms

from laoc_flows.engines.lammps import LammpsRun, StageRun
from laoc_flows.flows.explore import _Harvest, _Limits
from laoc_flows.schemas.learning import Exploration, Selection, TrustLevels

SETTINGS = Exploration(
    temperatures=(1000.0, 300.0),
    melt_time=0.4,
    quench_rate=7000.0,
    hold_time=0.2,
    time_step=2.0,
    frame_interval=0.1,
)
STAGES = SETTINGS.stages()
START = Atoms("Cl2", positions=[[0, 0, 0], [5, 5, 5]], cell=[10, 10, 10], pbc=True)


def run(stages, distances, deviations, failure=""):
    """A run whose frames, every 50 steps, have the two Cl at these distances [A]."""
    parts, step, left = [], 0, list(distances)
    for stage in stages:
        count = min(stage.steps(SETTINGS.time_step) // 50, len(left))
        here, left = left[:count], left[count:]
        if here:
            steps = step + 50 * np.arange(1, count + 1)
            positions = np.array([[[0, 0, 0], [distance, 0, 0]] for distance in here])
            thermo = np.column_stack([steps, np.full((count, 5), 300.0)])
            parts.append(StageRun(stage, steps, positions, np.array([START.cell.array] * count), thermo))
        step += stage.steps(SETTINGS.time_step)
    known = {50 * (k + 1): deviation for k, deviation in enumerate(deviations)}
    return LammpsRun(("Cl", "Cl"), parts, known, failure)


@pytest.fixture
def limits():
    trust = TrustLevels(low=0.1, high=0.5)
    return _Limits.of(START, SETTINGS, Selection(), [trust, trust])


def test_the_colder_stages_go_on_from_the_last_frame_that_is_trusted(limits):
    harvest = _Harvest.empty(SETTINGS)
    over = harvest.add(run(STAGES, [4.0, 4.1, 4.2, 1.0], [0.1, 0.2, 0.9, 0.9]), STAGES, limits, 0)
    assert STAGES[over].name == "quench"
    (cut,) = harvest.cuts
    assert "Cl-Cl" in cut
    assert cut.endswith("is inside its floor at 0.40 ps")
    assert harvest.frames[harvest.trusted].get_distance(0, 1) == pytest.approx(4.1)
    assert harvest.times == pytest.approx([0.1, 0.2, 0.3])

    colder = STAGES[over:]
    steps = STAGES[0].steps(SETTINGS.time_step)
    assert over + harvest.add(run(colder, [4.0] * 3, [0.1] * 3), colder, limits, steps) == len(STAGES)
    assert harvest.times == pytest.approx([0.1, 0.2, 0.3, 0.5, 0.6, 0.7])
    assert harvest.temperatures == [1000.0] * 3 + [300.0] * 3
    assert harvest.cuts == [cut]


def test_where_lammps_stops_before_its_first_frame_the_next_stage_is_tried(limits):
    harvest = _Harvest.empty(SETTINGS)
    assert harvest.add(run(STAGES, [], [], "ERROR: Lost atoms"), STAGES, limits, 0) == 1
    assert harvest.trusted is None
    assert harvest.cuts == ["ERROR: Lost atoms after 0.00 ps"]


def test_a_run_that_stays_in_physics_is_not_cut(limits):
    harvest = _Harvest.empty(SETTINGS)
    assert harvest.add(run(STAGES, [4.0] * 7, [0.1] * 7), STAGES, limits, 0) == len(STAGES)
    assert harvest.cuts == []
    assert len(harvest.frames) == sum(harvest.expected.values()) == 7
