"""Mean squared displacements, by us and by each peer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipp
import tidynamics
from analysis_peers import DOUBLE, SINGLE, Case, structures_of, universe_of
from ase import Atoms
from gemdat import Trajectory as GemdatTrajectory
from kinisi.analyze import DiffusionAnalyzer as KinisiAnalyzer
from MDAnalysis.analysis.msd import EinsteinMSD
from pymatgen.analysis.diffusion.analyzer import DiffusionAnalyzer
from pymatgen.core import Element

from laoc_flows.analysis import Trajectory, msd

_KINISI = 0.02
_KINISI_ATOMS = 100


def _fresh(run: Trajectory) -> Trajectory:
    """Return the same run with nothing computed yet."""
    return run.block(0, run.n_frames)


def _largest_error(ours: Any, theirs: Any) -> float:
    return float(np.max(np.abs(np.asarray(ours) / np.asarray(theirs) - 1)))


def msd_cases(run: Trajectory) -> Iterator[Case]:
    """Yield the cases that start from arrays.

    Parameters
    ----------
    run : Trajectory
        Of Li, Al and Cl in a cubic cell.
    """
    lithium = run.indices("Li")
    still, free = run.paths("framework"), run.paths("none")
    each_li = [np.ascontiguousarray(free.of([k])[:, 0]) for k in lithium]
    universe = universe_of(run, free.of())
    displacements = np.ascontiguousarray((still.of() - still.of(stop=1)).transpose(1, 0, 2))
    first = structures_of(run.block(0, 1))[0]
    fractional = run.positions @ np.linalg.inv(run.cells[0])
    elements = [Element(symbol) for symbol in run.species]

    def pymatgen_analyzer() -> tuple[Any, Any]:
        found = DiffusionAnalyzer(first, displacements, "Li", 500, 1, 1000, smoothed="max")
        return np.rint(found.dt / 1000).astype(int), found.msd

    def gemdat_msd() -> Any:
        theirs = GemdatTrajectory(
            species=elements,
            coords=fractional,
            lattice=run.cells[0],
            metadata={"temperature": 500},
            time_step=1e-13,
        )
        return theirs.filter("Li").mean_squared_displacement().mean(axis=0)

    def compare(ours: Any, theirs: Any) -> float:
        value = np.array(ours.value)
        return _largest_error(value, np.asarray(theirs)[1 : len(value) + 1])

    continuous = "continuous positions on either side; MSD of Li"
    yield Case(
        "MSD",
        "tidynamics",
        run.n_frames,
        lambda: msd(run, "Li", "none"),
        lambda: np.mean([tidynamics.msd(x) for x in each_li], axis=0),
        compare,
        DOUBLE,
        f"{continuous}, atom by atom in theirs; theirs to all lags, ours to half the run and per axis",
    )
    yield Case(
        "MSD",
        "MDAnalysis",
        run.n_frames,
        lambda: msd(run, "Li", "none"),
        lambda: EinsteinMSD(universe, select="name Li", fft=True).run().results.timeseries,
        compare,
        SINGLE,
        f"{continuous}; theirs in single precision and to all lags",
    )
    yield Case(
        "MSD",
        "pymatgen-analysis-diffusion",
        run.n_frames,
        lambda: msd(run, "Li"),
        pymatgen_analyzer,
        _at_their_lags,
        DOUBLE,
        f"{continuous}; theirs is DiffusionAnalyzer, which visits all elements and fits D",
    )
    yield Case(
        "MSD of all elements",
        "pymatgen-analysis-diffusion",
        run.n_frames,
        lambda: [msd(run, symbol) for symbol in ("Li", "Al", "Cl")],
        pymatgen_analyzer,
        lambda ours, theirs: _at_their_lags(ours[0], theirs),
        DOUBLE,
        "the same with every element in ours, as theirs visits them",
    )
    yield Case(
        "MSD of wrapped frames",
        "GEMDAT",
        run.n_frames,
        lambda: msd(_fresh(run), "Li", "none"),
        gemdat_msd,
        compare,
        DOUBLE,
        "wrapped positions on either side, unwrapping included",
    )


def _at_their_lags(ours: Any, theirs: tuple[Any, Any]) -> float:
    value = np.array(ours.value)
    lags, msd_of_theirs = theirs
    common = lags <= value.size
    return _largest_error(value[lags[common] - 1], msd_of_theirs[common])


def msd_cases_of_structures(run: Trajectory) -> Iterator[Case]:
    """Yield the cases that start from lists of structures.

    Parameters
    ----------
    run : Trajectory
        Of Li, Al and Cl in a cubic cell.
    """
    structures = structures_of(run)

    def pymatgen_analyzer() -> tuple[Any, Any]:
        found = DiffusionAnalyzer.from_structures(structures, "Li", 500, 1, 1000, smoothed="max")
        return np.rint(found.dt / 1000).astype(int), found.msd

    yield Case(
        "MSD of structures",
        "pymatgen-analysis-diffusion",
        run.n_frames,
        lambda: msd(Trajectory.from_pymatgen(structures, run.time_step), "Li"),
        pymatgen_analyzer,
        _at_their_lags,
        DOUBLE,
        "a list of pymatgen structures on either side, unwrapping included",
    )
    if run.n_atoms > _KINISI_ATOMS:
        return
    atoms = [Atoms(run.species, positions=x, cell=run.cells[0], pbc=True) for x in run.positions]
    lags = np.arange(1, run.n_frames // 2)
    intervals = scipp.array(dims=["time interval"], values=run.time_step * lags, unit="ps")
    part = slice(None, run.n_frames // 10)

    def kinisi_msd() -> Any:
        step = run.time_step * scipp.Unit("ps")
        found = KinisiAnalyzer.from_ase(
            atoms, specie="Li", time_step=step, step_skip=scipp.scalar(1), dt=intervals, progress=False
        )
        return found.da.values

    yield Case(
        "MSD of ASE frames",
        "kinisi",
        run.n_frames,
        lambda: msd(Trajectory.from_ase(atoms, run.time_step), "Li"),
        kinisi_msd,
        lambda ours, theirs: _largest_error(np.array(ours.value)[lags - 1][part], theirs[part]),
        _KINISI,
        "a list of ase.Atoms on either side, unwrapping included; theirs with the variance of every lag, without "
        "the posterior of D, and with the first frame twice: compared up to a tenth of the run",
    )
