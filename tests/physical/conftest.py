"""A small cell with labels, and how a potential is trained on it that is a potential and nothing more."""

import numpy as np
import pytest
from ase.calculators.singlepoint import SinglePointCalculator

from laoc_flows.engines.packing import pack
from laoc_flows.engines.xtb import XtbEngine
from laoc_flows.schemas.training import Training


@pytest.fixture(scope="session")
def toy_training():
    return Training(
        steps=60,
        neuron=(8, 16),
        axis_neuron=4,
        fitting=(20, 20),
        precision="float64",
        start_lr=5e-3,
        stop_lr=1e-4,
    )


@pytest.fixture(scope="module")
def own_workspace(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        directory = tmp_path_factory.mktemp("ws")
        patch.setenv("LAOC_WORKSPACE", str(directory))
        patch.setenv("OMP_NUM_THREADS", "1")
        yield directory


@pytest.fixture(scope="module")
def frame(own_workspace):
    directory = own_workspace / "pack"
    directory.mkdir()
    return pack(["Li"] * 2 + ["Al"] * 2 + ["O"] + ["Cl"] * 6, 6.6, 5, directory)


@pytest.fixture(scope="module")
def labeled(frame, tmp_path_factory):
    """Six displaced copies of the frame with GFN1-xTB's energies, forces and stresses."""
    rng = np.random.default_rng(0)
    moved = [frame.copy() for _ in range(6)]
    for atoms in moved:
        atoms.positions += rng.normal(scale=0.05, size=atoms.positions.shape)
    points = XtbEngine(accuracy=100).single_points(moved, tmp_path_factory.mktemp("xtb"))
    for atoms, point in zip(moved, points, strict=True):
        atoms.calc = SinglePointCalculator(
            atoms, energy=point.energy, forces=point.forces, stress=point.stress
        )
    return moved
