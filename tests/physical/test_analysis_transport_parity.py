"""The same trajectory through trusted codes: tidynamics, MDAnalysis, pymatgen-analysis-diffusion, kinisi."""

import MDAnalysis
import numpy as np
import pytest
import scipp
import tidynamics
from ase import Atoms
from kinisi.analyze import DiffusionAnalyzer as KinisiAnalyzer
from MDAnalysis.analysis.msd import EinsteinMSD
from pymatgen.analysis.diffusion.analyzer import DiffusionAnalyzer
from pymatgen.core import Lattice, Structure

from laoc_flows.analysis import Trajectory
from laoc_flows.analysis.transport.collective import charge_displacement
from laoc_flows.analysis.transport.conductivity import conductivity
from laoc_flows.analysis.transport.diffusion import self_diffusion
from laoc_flows.analysis.transport.msd import msd

CELL = np.array([[14.0, 0, 0], [2, 13, 0], [-1, 3, 15]])
SPECIES = ("Li",) * 12 + ("Cl",) * 12


@pytest.fixture(scope="module")
def positions():
    rng = np.random.default_rng(4)
    moves = rng.normal(0, 0.02, (500, 24, 3))
    moves[:, :12] = np.cumsum(rng.normal(0, 0.3, (500, 12, 3)), axis=0)
    return rng.random((24, 3)) @ CELL + moves


@pytest.fixture(scope="module")
def run(positions):
    fractional = positions @ np.linalg.inv(CELL)
    return Trajectory(SPECIES, (fractional - np.floor(fractional)) @ CELL, CELL, 0.5)


def test_tidynamics(run, positions):
    ours = np.array(msd(run, "Li", drift="none").value)
    theirs = np.mean([tidynamics.msd(positions[:, k]) for k in range(12)], axis=0)
    assert ours == pytest.approx(theirs[1 : len(ours) + 1], rel=1e-9)


def test_mdanalysis(run, positions):
    universe = MDAnalysis.Universe.empty(24, trajectory=True)
    universe.add_TopologyAttr("name", SPECIES)
    universe.load_new(positions.astype(np.float32), order="fac")
    theirs = EinsteinMSD(universe, select="name Li", fft=False).run().results.timeseries
    ours = np.array(msd(run, "Li", drift="none").value)
    # MDAnalysis keeps positions in single precision.
    assert ours == pytest.approx(theirs[1 : len(ours) + 1], rel=1e-5)


@pytest.fixture(scope="module")
def pymatgen_analyzer(positions):
    structure = Structure(Lattice(CELL), SPECIES, positions[0], coords_are_cartesian=True)
    return DiffusionAnalyzer(
        structure,
        (positions - positions[0]).transpose(1, 0, 2),
        specie="Li",
        temperature=450,
        time_step=1,
        step_skip=500,
        smoothed="max",
        min_obs=24,
    )


def test_pymatgen_msd_and_diffusivity(run, pymatgen_analyzer):
    result = msd(run, "Li")
    lags = np.round(pymatgen_analyzer.dt / 500).astype(int)
    assert lags[-1] > 200
    assert np.array(result.value)[lags - 1] == pytest.approx(pymatgen_analyzer.msd, rel=1e-9)
    ours = self_diffusion(run)
    assert ours.status == "diffusive"
    # Theirs is a line through all lags, with the weights of another model.
    assert pymatgen_analyzer.diffusivity == pytest.approx(ours.value, abs=4 * ours.standard_error)


def test_pymatgen_conductivity(run, pymatgen_analyzer):
    exact = pymatgen_analyzer.conductivity / pymatgen_analyzer.diffusivity
    ours = conductivity(run, 450.0, n_samples=100)
    assert ours.value / ours.diffusion.value == pytest.approx(exact, rel=1e-4)


def test_pymatgen_charge_displacement(run, pymatgen_analyzer):
    # Theirs counts the carriers alone; next to a framework of no charge that is all.
    path = charge_displacement(run, {"Li": 1, "Cl": -1})
    ions = run.unwrapped()
    alone = (ions[:, :12] - ions[0, :12]).sum(axis=1)
    framework = (ions[:, 12:] - ions[0, 12:]).sum(axis=1)
    assert path == pytest.approx(alone - framework, abs=1e-9)
    assert framework == pytest.approx(np.zeros((500, 3)), abs=1e-9)
    lag = round(float(pymatgen_analyzer.dt[5]) / 500)
    squared = ((path[lag:] - path[:-lag]) ** 2).sum(axis=1).mean() / 12
    assert squared == pytest.approx(pymatgen_analyzer.mscd[5], rel=1e-9)


def test_kinisi(run, positions):
    frames = [Atoms(SPECIES, positions=x, cell=CELL, pbc=True) for x in positions]
    # It takes the longest of these for the length of the run.
    lags = np.arange(2, 499, 4)
    theirs = KinisiAnalyzer.from_ase(
        frames,
        specie="Li",
        time_step=0.5 * scipp.Unit("ps"),
        step_skip=scipp.scalar(1),
        dt=scipp.array(dims=["time interval"], values=0.5 * lags, unit="ps"),
        progress=False,
    )
    ours = self_diffusion(run, min_lag=1.0)
    value = np.array(msd(run, "Li").value)
    # It counts the first frame twice.
    assert theirs.da.values[lags < 100] == pytest.approx(value[lags[lags < 100] - 1], rel=0.01)
    theirs.diffusion(1.0 * scipp.Unit("ps"), progress=False, random_state=np.random.RandomState(1))
    diffusivity = theirs.D.values
    assert diffusivity.mean() == pytest.approx(ours.value, abs=2 * ours.standard_error)
    assert np.std(diffusivity) == pytest.approx(ours.standard_error, rel=0.4)
